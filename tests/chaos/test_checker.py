"""The checker accepts a complete history, and names every possible violation."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.checker import Losses, Said, Seen, check, check_durations, count_losses
from petiole.protocol.events import ZERO_CHAIN, advance_chain

FACTS = 5
SAID = {0: [Said(1, fact, at=float(fact)) for fact in range(FACTS)]}
TERMINAL = 6


def event(facts: int, *, run: int = 1, **other: Any) -> dict[str, Any]:
    return {
        "event": f"id{facts}",
        "epoch": "e",
        "seq": facts,
        "facts": facts,
        "run": run,
        "kind": "custom",
        "state": None,
        "completed": None,
        "at": float(facts),
        **other,
    }


def whole() -> list[dict[str, Any]]:
    """The records of a browser that has shown everything."""
    shown = [event(fact + 1, said=fact, completed=fact) for fact in range(FACTS)]
    return [*shown, event(TERMINAL, state="succeeded", kind="state"), {"end": "succeeded", "complete": True}]


def found(entries: list[dict[str, Any]], *, other: list[dict[str, Any]] | None = None, resets: bool = False) -> str:
    seen = [Seen("a", "task:x", 0, entries), Seen("b", "task:x", 0, whole() if other is None else other)]
    return "\n".join(check(SAID, seen, resets_allowed=resets, fault_ended=3.0))


def without(entries: list[dict[str, Any]], at: int) -> list[dict[str, Any]]:
    return entries[:at] + entries[at + 1 :]


def changed(place: int, /, **fields: Any) -> list[dict[str, Any]]:
    entries = whole()
    entries[place] = {**entries[place], **fields}
    return entries


def test_a_whole_history_has_no_violation() -> None:
    assert found(whole()) == ""


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (without(whole(), 2), "I1 a on task 0: 1 of 5 facts missing without a report"),
        ([*whole()[:3], event(4, said=3), event(4, said=3), *whole()[4:]], "I3 a on task 0: 1 shown twice"),
        ([whole()[1], whole()[0], *whole()[2:]], "I2 a on task 0: out of order"),
        (changed(3, completed=0), "I5 a on task 0: progress 0 after 2"),
        (changed(2, event="another"), "I4 task:x: fact 3 has 2 contents"),
        (changed(1, run=2), "I6 a on task 0: an event of run 1 after run 2 had begun"),
        (without(whole(), FACTS), "I7 a on task 0: 0 terminal facts"),
        (whole()[:-1], "I8 a on task 0: never saw the end"),
        (changed(4, at=30.0), "I8 a on task 0: 1 facts up to 26 s after the fault had ended"),
        (changed(FACTS + 1, complete=False), "I9 a on task 0: the receipt isn't complete"),
        ([{"reset": "c"}, *whole()], "I9 a on task 0: an unexplained reset"),
    ],
)
def test_each_violation_is_named(entries: list[dict[str, Any]], sentence: str) -> None:
    assert sentence in found(entries).splitlines()


WROTE = {0: {1: "one zwölf 👋🏽 ", 2: "anew "}}


def texts(*entries: dict[str, Any], end: int = 1) -> str:
    """What the checker finds in a browser that has shown this of the texts; run `end` has ended the task."""
    last = event(TERMINAL, run=end, state="succeeded", kind="state")
    shown = [*whole()[:FACTS], *entries, last, {"end": "succeeded", "complete": True}]
    return "\n".join(check(SAID, [Seen("a", "task:x", 0, shown)], wrote=WROTE, resets_allowed=True))


def chunk(at: int, text: str, name: str = "output") -> dict[str, Any]:
    return {"text": [name, at, text]}


def test_a_text_that_was_shown_as_it_was_written_is_no_violation() -> None:
    assert texts(chunk(0, "one zwö"), chunk(8, "lf 👋🏽 ")) == ""
    assert texts(chunk(0, "one "), {"clear": 0}, chunk(0, "one zwölf 👋🏽 ")) == ""
    assert texts(chunk(0, "one "), {"clear": 2}, chunk(0, "anew "), end=2) == ""


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([chunk(0, "one "), chunk(11, "👋🏽 ")], "a chunk for byte 11 was shown at 4"),
        ([chunk(0, "one "), chunk(0, "one ")], "a chunk for byte 0 was shown at 4"),
        (
            [chunk(0, "one "), chunk(4, "zwolf ")],
            "the text isn't what a run has written, within 6 characters of byte 4",
        ),
        ([chunk(0, "one "), chunk(4, "anew ")], "the text isn't what a run has written, within 5 characters of byte 4"),
        ([chunk(0, "one ")], "at the end it shows 4 of 20 bytes of text"),
        ([], "at the end it shows 0 of 20 bytes of text"),
        ([chunk(0, "anew ")], "at the end it shows 5 of 20 bytes of text"),
    ],
)
def test_each_violation_of_a_text_is_named(entries: list[dict[str, Any]], sentence: str) -> None:
    assert texts(*entries) == f"I13 a on task 0: {sentence}"


def test_what_was_said_to_be_dropped_is_counted_exactly() -> None:
    line = event(3, kind="log", event="id3", dropped=1)
    dropped = [*whole()[:2], line, *whole()[3:]]
    assert "I1" not in found(dropped, other=dropped)
    two = [*whole()[:2], {**line, "dropped": 2}, *whole()[3:]]
    assert "I1 a on task 0: 1 of 5 facts missing, 2 reported as dropped" in found(two, other=two)


def test_what_a_reset_took_back_is_no_disagreement_and_what_stands_is() -> None:
    stale = event(3, event="stale")
    assert "I4" not in found([stale, {"reset": "c"}, *whole()], resets=True)
    assert "I4" in found([{"reset": "c"}, stale, *whole()[3:]], resets=True)


def test_a_fact_that_does_not_follow_by_its_hash_is_named() -> None:
    def chained(ids: list[str]) -> list[dict[str, Any]]:
        chain, entries = ZERO_CHAIN, []
        for facts, name in enumerate(ids, 1):
            chain = advance_chain(chain, name)
            entries.append(event(facts, event=name, cursor=f"0000000a.{facts}.{facts}.{chain}"))
        return entries

    right, stale = chained(["one", "two", "three"]), chained(["one", "other", "three"])
    assert "doesn't follow" not in found(right)
    assert "I4 a on task 0: fact 3 doesn't follow from the fact shown before it" in found([*right[:2], stale[2]])
    assert "doesn't follow" not in found([*right[:2], {"reset": "c"}, stale[2]], resets=True)


def test_a_task_may_take_five_percent_longer() -> None:
    assert check_durations({1: 10.5}, undisturbed=10.0) == []
    assert check_durations({1: 10.6}, undisturbed=10.0) == ["I12 task 1 took 10.60 s instead of 10.00 s"]


def test_losses_are_facts_times_browsers_and_the_end_is_one() -> None:
    seen = [
        Seen("a", "task:x", 0, [entry for at, entry in enumerate(whole()) if at not in (1, FACTS)]),
        Seen("b", "task:x", 0, [whole()[1], whole()[0], *whole()[2:]]),
    ]
    assert count_losses(SAID, seen) == Losses(sent=12, lost=2, disordered=1, endless=1)
