"""Other projects' own test suites, run as they are and with Petiole in force: `python -m suites celery`."""
