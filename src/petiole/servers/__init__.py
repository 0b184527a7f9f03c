"""Servers and processes that the demo, tests, chaos and benchmarks start. Nothing that users run in production imports it."""
