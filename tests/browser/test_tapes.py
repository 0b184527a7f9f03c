"""A tape in a real page: what users show their own pages with."""

from __future__ import annotations

from playwright.sync_api import expect

from petiole.testing import Tape, play
from petiole.testing.recording import Recording
from tests.browser.card import Card
from tests.browser.conftest import Visit
from tests.browser.test_cases import COMPLETE
from tests.integration.test_tapes import recording  # noqa: F401 (a fixture)


def test_a_page_shows_a_tape_whatever_is_done_to_it(recording: Recording, visit: Visit) -> None:  # noqa: F811
    lines = len(recording.events)
    tape = Tape.of(recording)
    # A browser reports each connection that breaks off in its console.
    with play(tape, drop={4, lines}, double={3, 7}, cut={6}) as player:
        page = visit(player.url, expected=("WebSocket",)).open("")
        card = Card(page.locator("petiole-task"))
        expect(card.part("receipt")).to_have_text(COMPLETE, timeout=20_000)
        expect(card.part("receipt")).to_contain_text(f"{len(recording.facts)} of {len(recording.facts)}")
        assert "".join(card.part("text-lines").all_text_contents()) == recording.text()
        player.wait()
