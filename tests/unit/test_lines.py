"""What a terminal shows of tasks: their words without what would act on it, and their texts between their events."""

from __future__ import annotations

import pytest
from celery import Celery

from petiole import init_celery, progress
from petiole.cli.interleaving import Interleaving
from petiole.protocol.lines import printable, progress_of, said_of
from petiole.protocol.reader import Read, Reader
from petiole.testing import Tape, run_task


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\tand\nlines\r\n", "plain\tand\nlines\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "�]0;title�"),
        ("\x1b[2J\x1b[H", ""),
        ("over\rwritten\x08", "over�written�"),
        ("\u202eright to left", "�right to left"),
        ("漢 🌿 é", "漢 🌿 é"),
        (7, "7"),
    ],
)
def test_what_would_act_on_the_terminal_is_not_printed(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, ""),
        ({}, ""),
        ({"completed": 120, "total": 5000, "unit": "rows", "stage": "Writing"}, "Writing, 120 of 5,000 rows"),
        ({"completed": 1.5, "total": None}, "1.5"),
        ({"completed": 3, "rate": 0.25, "time_left": 75.2, "description": "now"}, "now, 3, 0.2/s, 1:15 left"),
        ({"completed": 0, "total": 10}, "0 of 10"),
    ],
)
def test_progress_in_words(given, said):
    assert progress_of({"progress": given}) == said


@pytest.fixture(scope="module")
def celery_app():
    app = Celery("lines", broker="redis://127.0.0.1:1/0", set_as_current=False)
    init_celery(app)
    return app


def test_each_kind_of_fact_is_a_line(celery_app):
    @celery_app.task(name="speaking", shared=False)
    def speaking():
        progress.stage("Reading \x1b[31m")
        progress.log("a line", level="warning")
        progress.emit("checked", {"rows": 3})
        progress.artifact("a.csv", url="/a.csv")

    assert [said_of(event) for event in run_task(speaking).facts] == [
        "queued",
        "running",
        "— Reading ",
        "warning: a line",
        "checked: {'rows': 3}",
        "file: a.csv  /a.csv",
        "succeeded",
    ]


def read(tape):
    """Read a tape by the reader's rule, line by line."""
    reader, reads = Reader(tape.feed), 0
    actions = reader.start()
    for line, event in enumerate(tape.events, start=1):
        if any(isinstance(action, Read) for action in actions):
            reads += 1
            actions = reader.answer(tape.read(reader.cursor, upto=line))
        else:
            actions = reader.offer(event)
    while any(isinstance(action, Read) for action in actions):
        reads += 1
        actions = reader.answer(tape.read(reader.cursor, upto=len(tape.events)))
    return reader, reads


def test_texts_are_laid_between_the_facts_and_those_of_an_earlier_run_are_left_out(celery_app):
    @celery_app.task(name="writing", bind=True, shared=False)
    def writing(self):
        for number in range(3):
            progress.write(f"té{self.request.retries}{number} " * 20_000)
            progress.write("e", "stderr")
            progress.log(f"line {number}")
        if self.request.retries == 0:
            raise self.retry(countdown=0)

    ran = run_task(writing)
    laying = Interleaving()
    lines = [line for fact in ran.facts for line in laying.lay(fact, ran.texts, run=2)]
    assert [line.id for line in lines if line.is_fact] == [fact.id for fact in ran.facts]
    assert max(len(line.chunk.text.encode()) for line in lines if line.chunk) <= 32 * 1024
    assert [line.seq for line in lines] == sorted({line.seq for line in lines})
    reader, reads = read(Tape.of(lines))
    # Each line follows from the one before: nothing has to be read again.
    assert reads == 1
    assert reader.texts == ran.texts
    assert reader.document == ran.document
    assert reader.complete
