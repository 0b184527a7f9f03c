"""The HTTP routes and their bodies, answers and pages. `petiole.web.extension` mounts them; exports use its bodies and problems."""
