"""What the server's problem objects become in Python."""

from __future__ import annotations

from typing import Any

import requests

from petiole.errors import PetioleError


class Refused(PetioleError):
    """The server answered with a problem object, which is in `problem`."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or "The server refused."))
        self.problem = problem


def problem_of(response: requests.Response) -> dict[str, Any]:
    """Return the problem object of a response, or one with its status."""
    try:
        problem = response.json()
    except requests.JSONDecodeError:
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"status": response.status_code, "detail": f"The server answered {response.status_code}."}
