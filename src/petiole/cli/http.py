"""What commands ask a web application over HTTP."""

from __future__ import annotations

from typing import Any, Final

import click
import requests

from petiole.cli.exits import CannotWatch
from petiole.cli.target import LOOKS_LIKE

TIMEOUT: Final = 10.0
RIGHTS: Final = "Pass --token, or your session's cookie by --header 'Cookie: session=…'."


def session_of(headers: tuple[str, ...], token: str | None = None) -> requests.Session:
    """Return a session with the headers that a user has given as `Name: value`.

    Raises:
        click.BadParameter: one isn't of that form.
    """
    session = requests.Session()
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"--header {header!r} isn't of the form 'Name: value'.")
        session.headers[name.strip()] = value.strip()
    if token is not None:
        session.headers["Authorization"] = f"Bearer {token}"
    return session


def fetch(session: requests.Session, url: str, parameters: dict[str, str] | None = None) -> Any:
    """Return the JSON that Petiole answers at an address.

    Raises:
        CannotWatch: nobody answers there, it isn't Petiole's, or it is refused.
    """
    try:
        response = session.get(url, params=parameters, headers={"Accept": "application/json"}, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise CannotWatch(
            f"Nobody answers at {url} ({_reason(error)}). Correct the address, or start the server."
        ) from None
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        answer = None
    if response.status_code == 200 and isinstance(answer, dict):
        return answer
    detail = answer.get("detail") if isinstance(answer, dict) else None
    if detail is None:
        said = f"{response.status_code} {response.reason}, and no answer of Petiole's"
        raise CannotWatch(f"{url} answers {said}. {LOOKS_LIKE}")
    advice = f" {RIGHTS}" if response.status_code in (401, 403, 404) else ""
    raise CannotWatch(f"{detail}{advice}")


def _reason(error: BaseException) -> str:
    """Return the cause that a person can read: requests wraps it in texts about its pools."""
    inner: BaseException = error
    while (args := [each for each in inner.args if isinstance(each, BaseException)]) or getattr(inner, "reason", None):
        deeper = args[0] if args else getattr(inner, "reason")  # noqa: B009
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    return str(inner).rpartition(": ")[2] or type(error).__name__
