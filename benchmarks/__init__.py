"""Figures, never tests: `python -m benchmarks latency`."""
