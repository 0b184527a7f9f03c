"""Measurements, not tests: `python -m benchmarks live`."""
