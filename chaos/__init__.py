"""Breaks the real system on purpose and checks what every process saw: `python -m chaos --only 4,8 --seed 7`."""
