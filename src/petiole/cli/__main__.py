"""`python -m petiole.cli`."""

from petiole.cli import main

main()
