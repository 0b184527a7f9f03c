"""The journal in Redis: one Lua script for each atomic step. `petiole.journal` opens it; nobody else imports it."""
