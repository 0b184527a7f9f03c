"""What must hold of the histories, whatever happened. Pure: histories in, violations out.

I1 no loss · I2 order · I3 no duplicate · I4 agreement · I5 progress never goes back within a run, runs never go back ·
I7 exactly one terminal fact · I9 no silent hole
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petiole.state import is_terminal

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Seen:
    """What one browser wrote down of one feed, in its order."""

    browser: str
    feed: str
    task: int
    entries: Sequence[Entry]


def check(said: Mapping[int, Sequence[int]], seen: Sequence[Seen], *, resets_allowed: bool) -> list[str]:
    """Return a sentence for each violation; none is what a run is for."""
    violations = [sentence for each in seen for sentence in _check_one(each, said[each.task], resets_allowed)]
    return violations + list(_check_agreement(seen))


def _check_one(seen: Seen, said: Sequence[int], resets_allowed: bool) -> Iterator[str]:
    where = f"{seen.browser} on task {seen.task}"
    reset = any("reset" in entry for entry in seen.entries)
    if reset and not resets_allowed:
        yield f"I9 {where}: a reset that no fault explains"
    events = [entry for entry in seen.entries if "event" in entry]
    shown = [entry["said"] for entry in events if entry.get("said") is not None]
    if sorted(shown) != shown:
        yield f"I2 {where}: out of order"
    if len(set(shown)) != len(shown):
        yield f"I3 {where}: {len(shown) - len(set(shown))} shown twice"
    missing = set(said) - set(shown)
    if missing and not reset:
        yield f"I1 {where}: {len(missing)} of {len(said)} facts missing without a word"
    yield from _check_numbers(where, seen.entries)
    terminal = [entry for entry in events if is_terminal(entry.get("state"))]
    last = seen.entries[-1] if seen.entries else {}
    if not last.get("end"):
        yield f"I8 {where}: never saw the end"
    elif not reset and len(terminal) != 1:
        yield f"I7 {where}: {len(terminal)} terminal facts"
    elif not reset and not last["complete"]:
        yield f"I9 {where}: the receipt isn't complete"


def _check_numbers(where: str, entries: Sequence[Entry]) -> Iterator[str]:
    facts = seq = None
    run, completed = 0, -1.0
    for entry in entries:
        if "reset" in entry:
            facts = seq = None
            completed = -1.0
            continue
        if "event" not in entry:
            continue
        if seq is not None and entry["seq"] <= seq:
            yield f"I2 {where}: seq {entry['seq']} after {seq}"
        if facts is not None and entry["facts"] != facts + (entry["kind"] != "counter"):
            yield f"I2 {where}: fact {entry['facts']} after {facts}"
        if entry["run"] and entry["run"] < run:
            yield f"I5 {where}: run {entry['run']} after {run}"
        if entry["run"] > run:
            run, completed = entry["run"], -1.0
        if entry["completed"] is not None and entry["completed"] < completed:
            yield f"I5 {where}: progress {entry['completed']} after {completed}"
        completed = entry["completed"] if entry["completed"] is not None else completed
        facts, seq = entry["facts"], entry["seq"]


def _check_agreement(seen: Sequence[Seen]) -> Iterator[str]:
    contents: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for each in seen:
        for entry in each.entries:
            if "event" in entry and entry["kind"] != "counter":
                contents[each.feed, entry["epoch"], entry["facts"]].add(entry["event"])
    for (feed, _, fact), ids in contents.items():
        if len(ids) > 1:
            yield f"I4 {feed}: fact {fact} has {len(ids)} contents"
