"""Other packages for Celery beside Petiole, each for real. They need an environment of their own: `make test-neighbours`."""
