"""The guarantee in a small world, explored exhaustively: every order of every step, with every fault. `-s` prints the size."""

from __future__ import annotations

import pytest

from petiole.journal import rules as journal_rules
from petiole.journal import texts as journal_texts
from petiole.protocol import reader as feed
from petiole.protocol.events import ZERO_CHAIN
from petiole.protocol.reader import Reader, Verdict
from petiole.protocol.texts import Span, Texts
from tests.unit.exploration import explore
from tests.unit.world import (
    AGAIN,
    DOUBLE,
    DROP,
    FIRST_RUN,
    LATER_TEXT_RUN,
    LONGER_RUN,
    MERGED_TEXT_RUN,
    NO_RUN,
    REPLY,
    SHORT_TEXT_RUN,
    STALE,
    SWAP,
    TEXT_RUN,
    TEXT_THEN_COUNTERS_RUN,
    TWO_TEXTS_RUN,
    Rules,
    Violation,
)

# Each world with its minimum number of states: a world that shrinks unnoticed proves less.
WORLDS = {
    "two runs, each fault alone": (Rules(), 80_000),
    "one run, every two faults": (Rules(plans=(FIRST_RUN, NO_RUN), budget=2), 80_000),
    "one longer run, each fault alone": (Rules(plans=(LONGER_RUN, NO_RUN)), 15_000),
    "text beside a counter, each fault alone": (Rules(plans=(TEXT_RUN, NO_RUN)), 30_000),
    "two texts, each fault alone": (Rules(plans=(TWO_TEXTS_RUN, NO_RUN)), 15_000),
    "a later run voids the text, each fault alone": (Rules(plans=(SHORT_TEXT_RUN, LATER_TEXT_RUN)), 90_000),
    "text, every two faults": (Rules(plans=(MERGED_TEXT_RUN, NO_RUN), budget=2), 80_000),
}


@pytest.fixture(autouse=True)
def _readings_bring_three_bytes(monkeypatch):
    """So that this world's few characters come in parts as well, and a part would end within a character."""
    monkeypatch.setattr(journal_texts, "MAX_READ_BYTES", 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_the_guarantee_holds_in_every_state_of_a_small_world(name):
    rules, least = WORLDS[name]
    explored = explore(rules)
    print(f"\n{name}: {explored.states:,} states, {explored.steps:,} steps, {explored.settled:,} settled")
    assert explored.states > least
    assert explored.settled > 100


def test_without_the_head_check_the_last_event_is_lost_for_good():
    with pytest.raises(Violation, match=r"I1: the page stands at .* a ring is lost"):
        explore(Rules(faults=DROP, head_check=False))


def test_without_progress_in_every_ring_a_lost_counter_is_lost_for_good():
    with pytest.raises(Violation, match="I4: the page shows"):
        explore(Rules(faults=DROP, progress_in_every_ring=False))


def test_without_the_fence_an_earlier_run_is_shown_after_a_later_one():
    with pytest.raises(Violation, match="I6: run 1 was shown after run 2 had begun"):
        explore(Rules(faults=0, fence=False))


def test_without_the_chain_a_stale_copy_is_not_noticed(monkeypatch):
    def no_chain(chain, event_id):
        return ZERO_CHAIN

    monkeypatch.setattr(feed, "advance_chain", no_chain)
    with pytest.raises(Violation, match=r"I4: .* a stale copy takes over"):
        explore(Rules(faults=STALE, advance=no_chain))


@pytest.mark.parametrize("fault", [DROP, DOUBLE, SWAP])
def test_a_reader_that_applies_whatever_comes_is_found(monkeypatch, fault):
    monkeypatch.setattr(feed, "judge", lambda cursor, event, **texts: Verdict.APPLY)
    with pytest.raises(Violation):
        explore(Rules(faults=fault))


def test_an_id_that_is_used_again_is_a_part_of_the_world():
    assert explore(Rules(faults=AGAIN)).states > explore(Rules(faults=0)).states


# What keeps a text whole. Each world without it must show a text that is torn, doubled or cut.


def test_without_the_check_of_lengths_a_lost_chunk_tears_the_text(monkeypatch):
    monkeypatch.setattr(Texts, "follows", lambda self, held, span: True)
    with pytest.raises(Violation, match=r"I13: .* a ring is lost"):
        explore(Rules(plans=(TEXT_RUN, NO_RUN), faults=DROP))


def test_without_lengths_in_every_event_the_last_chunk_is_lost_for_good(monkeypatch):
    follows, apply = Texts.follows, Reader._apply

    def applies(reader, event):
        held, actions = reader.cursor, apply(reader, event)
        if not event.texts:
            reader.cursor = reader.cursor.at_texts(held.texts)
        return actions

    monkeypatch.setattr(Texts, "follows", lambda self, held, span: not self or follows(self, held, span))
    monkeypatch.setattr(Reader, "_apply", applies)
    with pytest.raises(Violation, match=r"I13: .* a ring is lost"):
        explore(Rules(plans=(TEXT_RUN, NO_RUN), faults=DROP, lengths_in_every_event=False))


def test_without_the_check_of_positions_in_readings_a_text_is_doubled(monkeypatch):
    def write_all(reader, reading, held):
        actions = [] if held.of_run(reading.cursor.texts.run) == held else reader._clear(reading.cursor.texts.run)
        actions.extend(reader._write(chunk) for chunk in reading.chunks)
        return feed._Written(actions, reading.cursor.texts)

    monkeypatch.setattr(Reader, "_write_all", write_all)
    with pytest.raises(Violation, match=r"I13: .* a stale copy takes over"):
        explore(Rules(plans=(TEXT_THEN_COUNTERS_RUN, NO_RUN), faults=STALE))


def test_an_append_that_ignores_the_position_doubles_what_is_sent_again(monkeypatch):
    decide = journal_rules.append

    def append_anyhow(kept, *, span=None, **event):
        if span is not None:
            end = kept.texts.of_run(event["run"]).length(span.name)
            span = Span(span.name, end, end + span.end - span.at)
        return decide(kept, span=span, **event)

    monkeypatch.setattr(journal_rules, "append", append_anyhow)
    with pytest.raises(Violation, match=r"I13: .* unheard"):
        explore(Rules(plans=(TEXT_RUN, NO_RUN), faults=REPLY))


def test_a_writer_that_does_not_say_with_its_facts_what_it_has_written_ends_without_it():
    with pytest.raises(Violation, match=r"I13: the task has ended, .* a stale copy takes over"):
        explore(Rules(plans=(TEXT_RUN, NO_RUN), faults=STALE, lengths_with_facts=False))
