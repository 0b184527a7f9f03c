"""What PostgreSQL would do for a query, by its own estimate."""

from __future__ import annotations

from typing import Any, Final

import psycopg

# Of each row that is sorted, beside its columns.
_ROW_OVERHEAD: Final = 48


def sorts_on_disk(connection: psycopg.Connection, query: str) -> bool:
    """Say whether the query sorts more than PostgreSQL keeps in memory.

    Raises:
        psycopg.Error: the query can't be planned.
    """
    planned = connection.execute(f"EXPLAIN (FORMAT JSON) {query}".encode()).fetchone()
    memory = connection.execute("SELECT pg_size_bytes(current_setting('work_mem'))").fetchone()
    assert planned is not None
    assert memory is not None
    return bool(_largest_sort(planned[0][0]["Plan"]) > memory[0])


def _largest_sort(plan: dict[str, Any]) -> float:
    own = plan["Plan Rows"] * (plan["Plan Width"] + _ROW_OVERHEAD) if plan["Node Type"] == "Sort" else 0
    return max([own, *map(_largest_sort, plan.get("Plans", ()))])
