"""What a web process does by itself: the reaper, notices, readiness, shutdown. `petiole.web.extension` starts it."""
