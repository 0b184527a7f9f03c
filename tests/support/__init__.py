"""What tests, chaos and benchmarks share: servers, test doubles of journal and bus, and waiting."""
