"""Shared by tests, chaos and benchmarks: servers, test doubles of journal and bus, and waiting."""
