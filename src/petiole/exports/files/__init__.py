"""The storage of exported files. Task and views import it."""
