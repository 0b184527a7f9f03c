"""The Socket.IO namespace, and what bounds one connection. `petiole.web.extension` registers it."""
