"""Applications and tasks that tests run in processes of their own."""
