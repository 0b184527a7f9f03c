"""The journal that a command reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from petiole.errors import PetioleError

journal_url_option = click.option(
    "--journal-url", help="The journal; without it PETIOLE_JOURNAL_URL or CELERY_BROKER_URL."
)


@contextmanager
def journal_at(url: str | None) -> Iterator[Any]:
    """Open the journal that `url` or the environment names, for reading.

    Raises:
        click.ClickException: there is none, or it doesn't answer.
    """
    from petiole.celery_urls import CeleryUrls
    from petiole.journal import open_journal
    from petiole.settings import Settings

    try:
        given = {"PETIOLE_JOURNAL_URL": url} if url else {}
        celery = CeleryUrls(broker_url=os.environ.get("CELERY_BROKER_URL"))
        settings = Settings.load(environ={**os.environ, **given}, celery=celery)
        journal = open_journal(settings, rings=False)
        try:
            yield journal
        finally:
            journal.close()
    except PetioleError as error:
        raise click.ClickException(str(error)) from error
