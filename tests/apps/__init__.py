"""Applications and tasks that tests run in separate processes."""
