"""What the web side does, whichever way it is asked: over HTTP, a socket or from Python. `petiole.web.extension`, `.http` and
`.socket` import it."""
