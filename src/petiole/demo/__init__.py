"""The Data Export application that `petiole demo` runs."""
