"""Pytest plugins for other projects' suites: what they are told of, and what puts Petiole in force."""
