"""Everything that uses Socket.IO's libraries beyond their documentation. `petiole.web.extension` and `petiole.web.socket` may
import it."""
