"""All that touches Socket.IO's libraries beyond their documentation. `petiole.web.extension` puts it in place."""
