"""Pytest plugins for other projects' suites: they report outcomes, and activate Petiole."""
