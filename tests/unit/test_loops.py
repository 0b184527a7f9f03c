"""Loops and bars of every kind, in sequence and nested: no count exceeds its total, and overall progress never goes back."""

from __future__ import annotations

import random

import pytest

from petiole.tqdm import tqdm
from petiole.worker.progress import progress, track
from tests.support.memory_journal import MemoryJournal
from tests.unit.runs import running

DEEPEST = 2
PROGRAMS = 400


class Program:
    """One task's random loops. `seen`: the progress after each step."""

    def __init__(self, chance, run):
        self.chance, self.run = chance, run
        self.seen, self.done, self.left = [], [], []

    def go(self, depth=0):
        for _ in range(self.chance.randint(1, 3)):
            length = self.chance.randint(0, 4)
            how = self.chance.choice((self.stage, self.iterate, self.leave, self.take, self.move))
            self.done.append(f"{'  ' * depth}{how.__name__} {length}")
            how(length, depth)
            self.look()

    def look(self):
        self.seen.append(self.run.progress())

    def stage(self, length, depth):
        if depth == 0 or self.chance.random() < 0.2:
            progress.stage(f"stage {length}", until=self.chance.choice((0.3, 0.6, 1.0)))

    def iterate(self, length, depth):
        items = self.chance.choice((range, lambda count: iter(range(count))))(length)
        words = self.chance.choice((None, "words"))
        for _ in self.chance.choice((track(items, description=words), tqdm(items, desc=words))):
            self.look()
            if depth < DEEPEST and self.chance.random() < 0.4:
                self.go(depth + 1)

    def leave(self, length, _depth):
        loop = self.chance.choice((track, tqdm))(range(length + 2))
        self.left.append(loop)
        for number in loop:
            self.look()
            if number == length:
                break

    def take(self, length, _depth):
        items = track(range(length + 2))
        self.left.append(items)
        next(items)

    def move(self, length, _depth):
        bar = tqdm(total=length)
        if scoped := self.chance.random() < 0.3:
            bar.__enter__()
        for _ in range(self.chance.randint(0, length)):
            bar.update()
            self.look()
        if self.chance.random() < 0.3:
            bar.reset()
        if scoped or self.chance.random() < 0.5:
            bar.close()
        else:
            self.left.append(bar)


@pytest.mark.parametrize("seed", range(4))
def test_no_count_is_above_its_total_and_the_whole_never_goes_back(make_settings, seed):
    for number in range(PROGRAMS // 4):
        with running(MemoryJournal(make_settings()), make_settings()) as run:
            program = Program(random.Random(f"{seed}.{number}"), run)
            program.go()
        whole = 0.0
        for told in program.seen:
            assert told["total"] is None or told["completed"] <= told["total"], program.done
            assert told["fraction"] is None or told["fraction"] >= whole, program.done
            whole = told["fraction"] or whole
