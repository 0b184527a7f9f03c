"""Which tests have another outcome with Petiole, and whether that was expected. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

NOT_RUN = "not run"
GOOD = ("passed", "skipped", "xfailed", "xpassed")


@dataclass(frozen=True, slots=True)
class Ended:
    """The outcome of a test in one run; `why` is the first line of its message."""

    outcome: str
    why: str = ""


Outcomes = Mapping[str, Ended]


@dataclass(frozen=True, slots=True)
class Difference:
    """A test with another outcome: its outcomes in each run without and with Petiole, and its messages."""

    test: str
    without: tuple[str, ...]
    within: tuple[str, ...]
    why: str

    @property
    def flaky(self) -> bool:
        """Whether one side alone has more than one outcome."""
        return len(set(self.without)) > 1 or len(set(self.within)) > 1

    def again(self, without: Outcomes, within: Outcomes) -> Difference:
        """Return the difference with the outcomes of one more run on both sides."""
        return Difference(
            self.test,
            (*self.without, _outcome(without, self.test)),
            (*self.within, _outcome(within, self.test)),
            self.why,
        )


def differences(without: Outcomes, within: Outcomes) -> list[Difference]:
    """Return the tests whose outcomes differ, in the order of the run without Petiole, then those that only ran with it."""
    found = []
    for test in {**without, **within}:
        one, other = _outcome(without, test), _outcome(within, test)
        if one != other:
            why = next((ended.why for side in (within, without) if (ended := side.get(test)) and ended.why), "")
            found.append(Difference(test, (one,), (other,), why))
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """The report on a variant.

    `expected`: differences with a reason in the list; `stale`: entries of the list that don't differ.
    """

    worse: list[Difference]
    better: list[Difference]
    flaky: list[Difference]
    expected: list[Difference]
    stale: list[str]

    @property
    def holds(self) -> bool:
        return not (self.worse or self.better or self.stale)


def judge(found: Collection[Difference], expected: Collection[str]) -> Verdict:
    """Sort differences by kind. A test that fails in another way than without Petiole counts as worse."""
    steady = [each for each in found if not each.flaky and each.test not in expected]
    return Verdict(
        worse=[each for each in steady if each.within[0] not in GOOD or each.without[0] in GOOD],
        better=[each for each in steady if each.within[0] in GOOD and each.without[0] not in GOOD],
        flaky=[each for each in found if each.flaky and each.test not in expected],
        expected=[each for each in found if each.test in expected],
        stale=sorted(set(expected) - {each.test for each in found}),
    )


def _outcome(outcomes: Outcomes, test: str) -> str:
    ended = outcomes.get(test)
    return NOT_RUN if ended is None else ended.outcome
