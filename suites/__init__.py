"""Other projects' own test suites, run unchanged and with Petiole active: `python -m suites celery`."""
