"""What travels and what it means: pure, no I/O, no clock. Everything may import it; it imports `petiole.errors` alone."""
