"""Follows the watched feeds and emits to their rooms. `petiole.web.extension` and `petiole.web.socket` import it."""
