"""A Python client in its own process: starts a task, and prints its events, one JSON object per line.

python -m tests.support.follower URL TASK BODY
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import requests

from petiole.client import TaskClient
from petiole.protocol.events import Event

ENDED_WITHIN = 120.0


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def heard(event: Event) -> None:
    say(event=event.to_wire())


def main(url: str, task: str, body: str) -> None:
    session = requests.Session()
    session.headers["X-Person"] = "ann"
    client = TaskClient(url, session=session)
    view = client.start(f"/start/{task}", json.loads(body), on_event=heard)
    say(feed=view.feed)
    document = view.wait(timeout=ENDED_WITHIN)
    assert view.receipt is not None
    say(state=document["state"], receipt=asdict(view.receipt), resets=view.resets)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
