"""The HTTP routes. Imported by `petiole.web.extension`, and `bodies` and `neighbours` by `petiole.exports`."""
