"""What both journals in a database have in common: their tables, and what somebody may write into them."""

from __future__ import annotations

from typing import Final

from petiole.journal.sql import schema

# The feeds first, as every verb of the journal has it: so nobody waits in a circle.
TABLES: Final = tuple(table.name for table in (schema.feeds, schema.facts, schema.seen, schema.unread, schema.notes))
FEEDS: Final = schema.feeds.name
# Columns, and what can't be read in them: no JSON, JSON that is no object, and no JSON where a text is kept as such.
SPOILED: Final = (("document", "spoiled"), ("document", "[]"), ("owner", "spoiled"))
# While it is renamed.
ELSEWHERE: Final = f"{FEEDS}_elsewhere"
LIMIT: Final = "max requests limit exceeded. Limit: 500000, Usage: 500000."
