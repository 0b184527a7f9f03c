"""The Socket.IO namespace `/petiole`. `petiole.web.extension` registers it."""
