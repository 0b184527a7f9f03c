"""The common parts of both journals in a database: their tables, and unreadable values to write into them."""

from __future__ import annotations

from typing import Final

from petiole.journal.sql import schema

# The feeds first, as in every verb of the journal: so there is no deadlock.
TABLES: Final = tuple(table.name for table in (schema.feeds, schema.facts, schema.seen, schema.unread, schema.notes))
FEEDS: Final = schema.feeds.name
# Columns with unreadable values: no JSON, JSON that isn't an object, and bytes that aren't text in a text column.
SPOILED: Final = (("document", "spoiled"), ("document", "[]"), ("owner", "spoiled"))
# While it is renamed.
ELSEWHERE: Final = f"{FEEDS}_elsewhere"
LIMIT: Final = "max requests limit exceeded. Limit: 500000, Usage: 500000."
