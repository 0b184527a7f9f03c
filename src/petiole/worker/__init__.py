"""The worker side: what a task says, and what its worker says for it. Never imports Flask."""
