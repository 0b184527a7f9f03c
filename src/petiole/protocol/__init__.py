"""What travels and what it means: pure, no input or output, no clock. Everything may import it; it imports `petiole.errors` alone."""
