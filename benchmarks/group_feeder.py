"""Ends the children of a group steadily, as workers do: `python -m benchmarks.group_feeder URL FEED CHILDREN SECONDS`."""

from __future__ import annotations

import sys
import time

from petiole.journal.answers import Counted
from petiole.journal.groups import Contribution
from petiole.journal.redis.journal import RedisJournal
from petiole.settings import Settings


def main() -> None:
    url, feed, children, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    journal = RedisJournal(Settings(journal_url=url))
    begun = time.monotonic()
    for number in range(children):
        time.sleep(max(begun + number * seconds / children - time.monotonic(), 0.0))
        for state in ("running", "succeeded"):
            answer = journal.contribute(feed, [Contribution(number, state)], run=0, lease=60.0)
            if not isinstance(answer, Counted):
                raise SystemExit(f"Child {number} was refused: {answer}")


if __name__ == "__main__":
    main()
