"""Other Celery packages together with Petiole, each one real. They need a separate environment: `make test-neighbours`."""
