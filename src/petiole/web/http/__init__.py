"""The HTTP routes, their bodies, answers and pages. `petiole.web.extension` mounts them; exports use its bodies."""
