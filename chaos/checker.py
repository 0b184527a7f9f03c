"""The invariants of the histories, whatever happened. Pure: histories in, violations out.

I1 no loss · I2 order · I3 no duplicate · I4 agreement · I5 progress never goes back within a run, runs never go back ·
I6 nothing of a run after a later one began · I7 exactly one terminal fact · I8 at the head 10 s after the fault ·
I9 no silent hole · I12 the task isn't slowed · I13 a text is shown as it was written, byte for byte
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from petiole.protocol.events import Cursor, advance_chain
from petiole.protocol.states import is_terminal

Entry = Mapping[str, Any]

AT_HEAD_WITHIN: Final = 10.0
SLOWER_AT_MOST: Final = 1.05


@dataclass(frozen=True)
class Said:
    """One fact as its task has recorded it. `at` is in seconds of the machine's monotonic clock."""

    run: int
    fact: int
    at: float


@dataclass(frozen=True)
class Seen:
    """One browser's records of one feed, in its order."""

    browser: str
    feed: str
    task: int
    entries: Sequence[Entry]


def check(
    said: Mapping[int, Sequence[Said]],
    seen: Sequence[Seen],
    *,
    wrote: Mapping[int, Mapping[int, str]] | None = None,
    resets_allowed: bool,
    repeats_allowed: bool = False,
    fault_ended: float | None = None,
) -> list[str]:
    """Return a sentence for each violation; a good run has none.

    `wrote`: the text that each run of a task has written; a browser of a task that isn't there shows none.
    `repeats_allowed`: after a reset, facts may be shown again that were shown before it. `fault_ended` (monotonic): when
    the system was repaired, or, if it stays broken, when it had been broken for a while.
    """
    violations = [
        sentence
        for each in seen
        for sentence in [
            *_check_one(each, said[each.task], resets_allowed, fault_ended),
            *_check_order(each, repeats_allowed),
            *_check_chain(each),
            *_check_text(each, (wrote or {}).get(each.task, {})),
        ]
    ]
    return violations + list(_check_agreement(seen))


@dataclass(frozen=True)
class Losses:
    """The losses of the browsers in one run: missing facts, facts out of order, and unseen ends."""

    sent: int
    lost: int
    disordered: int
    endless: int


def count_losses(said: Mapping[int, Sequence[Said]], seen: Sequence[Seen]) -> Losses:
    """Count facts times browsers, and how many of those were lost; the end of a task counts as a fact."""
    sent = lost = disordered = endless = 0
    for each in seen:
        shown = [entry["said"] for entry in each.entries if entry.get("said") is not None]
        ended = any(is_terminal(entry.get("state")) for entry in each.entries)
        expected = {one.fact for one in said[each.task]}
        sent += len(expected) + 1
        lost += len(expected - set(shown)) + (not ended)
        disordered += sum(later < earlier for earlier, later in pairwise(shown))
        endless += not ended
    return Losses(sent, lost, disordered, endless)


def check_durations(took: Mapping[int, float], *, undisturbed: float) -> list[str]:
    """I12: compare the durations of the tasks (seconds) with that of the same task without a fault."""
    return [
        f"I12 task {task} took {seconds:.2f} s instead of {undisturbed:.2f} s"
        for task, seconds in took.items()
        if seconds > SLOWER_AT_MOST * undisturbed
    ]


def _check_one(seen: Seen, said: Sequence[Said], resets_allowed: bool, fault_ended: float | None) -> Iterator[str]:
    where = f"{seen.browser} on task {seen.task}"
    reset = any("reset" in entry for entry in seen.entries)
    if reset and not resets_allowed:
        yield f"I9 {where}: an unexplained reset"
    events = [entry for entry in seen.entries if "event" in entry]
    told = [entry for entry in events if entry.get("said") is not None]
    shown = {(entry["run"], entry["said"]) for entry in told}
    missing = {(each.run, each.fact) for each in said} - shown
    dropped = sum(entry.get("dropped") or 0 for entry in events)
    if len(missing) != dropped and not reset:
        admitted = f", {dropped} reported as dropped" if dropped else " without a report"
        yield f"I1 {where}: {len(missing)} of {len(said)} facts missing{admitted}"
    yield from _check_numbers(where, seen.entries)
    yield from _check_end(where, seen.entries, events, reset)
    if fault_ended is not None:
        yield from _check_lateness(where, said, told, fault_ended)


def _check_order(seen: Seen, repeats_allowed: bool) -> Iterator[str]:
    where = f"{seen.browser} on task {seen.task}"
    parts: list[list[tuple[int, int]]] = [[]]
    for entry in seen.entries:
        if "reset" in entry and repeats_allowed:
            parts.append([])
        elif "event" in entry and entry.get("said") is not None:
            parts[-1].append((entry["run"], entry["said"]))
    for shown in parts:
        if sorted(shown) != shown:
            yield f"I2 {where}: out of order"
        if len(set(shown)) != len(shown):
            yield f"I3 {where}: {len(shown) - len(set(shown))} shown twice"


def _check_end(where: str, entries: Sequence[Entry], events: Sequence[Entry], reset: bool) -> Iterator[str]:
    terminal = [entry for entry in events if is_terminal(entry.get("state"))]
    last = entries[-1] if entries else {}
    if not last.get("end"):
        stuck = f" ({last['stuck']})" if "stuck" in last else ""
        yield f"I8 {where}: never saw the end{stuck}"
    elif not reset and len(terminal) != 1:
        yield f"I7 {where}: {len(terminal)} terminal facts"
    elif not reset and not last["complete"]:
        yield f"I9 {where}: the receipt isn't complete"


def _check_lateness(where: str, said: Sequence[Said], told: Sequence[Entry], fault_ended: float) -> Iterator[str]:
    due = {(each.run, each.fact): max(each.at, fault_ended) + AT_HEAD_WITHIN for each in said}
    late = [
        entry["at"] - due[entry["run"], entry["said"]]
        for entry in told
        if (entry["run"], entry["said"]) in due and entry["at"] > due[entry["run"], entry["said"]]
    ]
    if late:
        yield f"I8 {where}: {len(late)} facts up to {max(late) + AT_HEAD_WITHIN:.0f} s after the fault had ended"


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
            yield f"I6 {where}: an event of run {entry['run']} after run {run} had begun"
        if entry["run"] > run:
            run, completed = entry["run"], -1.0
        if entry["completed"] is not None and entry["completed"] < completed:
            yield f"I5 {where}: progress {entry['completed']} after {completed}"
        completed = entry["completed"] if entry["completed"] is not None else completed
        facts, seq = entry["facts"], entry["seq"]


def _check_chain(seen: Seen) -> Iterator[str]:
    """Each fact follows by its hash from the fact shown before it; otherwise one has replaced another."""
    where = f"{seen.browser} on task {seen.task}"
    chain = None
    for entry in seen.entries:
        if "reset" in entry:
            chain = None
        elif "cursor" in entry:
            after = Cursor.parse(entry["cursor"]).chain
            if chain is not None and entry["kind"] != "counter" and advance_chain(chain, entry["event"]) != after:
                yield f"I4 {where}: fact {entry['facts']} doesn't follow from the fact shown before it"
            chain = after


def _check_text(seen: Seen, wrote: Mapping[int, str]) -> Iterator[str]:
    """At each moment a browser shows the beginning of what a run has written, and at the end of a success the whole."""
    where = f"{seen.browser} on task {seen.task}"
    shown: dict[str, str] = {}
    for entry in seen.entries:
        if "clear" in entry:
            shown = {}
        elif "text" in entry:
            name, at, chunk = entry["text"]
            before = shown.get(name, "")
            shown[name] = before + chunk
            if at != len(before.encode()):
                yield f"I13 {where}: a chunk for byte {at} was shown at {len(before.encode())}"
                return
            if not any(text.startswith(shown[name]) for text in wrote.values()):
                yield f"I13 {where}: the text isn't what a run has written, within {len(chunk)} characters of byte {at}"
                return
    ends = [entry for entry in seen.entries if entry.get("state") == "succeeded" and "event" in entry]
    if ends and "end" in seen.entries[-1]:
        whole, has = wrote.get(ends[-1]["run"], ""), "".join(shown.values())
        if has != whole:
            yield f"I13 {where}: at the end it shows {len(has.encode())} of {len(whole.encode())} bytes of text"


def _check_agreement(seen: Sequence[Seen]) -> Iterator[str]:
    """A reset has marked earlier content as uncertain, so that content doesn't count."""
    contents: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for each in seen:
        resets = [at for at, entry in enumerate(each.entries) if "reset" in entry]
        for entry in each.entries[resets[-1] if resets else 0 :]:
            if "event" in entry and entry["kind"] != "counter":
                contents[each.feed, entry["epoch"], entry["facts"]].add(entry["event"])
    for (feed, _, fact), ids in contents.items():
        if len(ids) > 1:
            yield f"I4 {feed}: fact {fact} has {len(ids)} contents"
