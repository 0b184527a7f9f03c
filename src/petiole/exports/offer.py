"""What the web side offers for export: some tables of a database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from petiole.errors import SetupError
from petiole.exports.catalog import Catalog
from petiole.exports.database import Database
from petiole.exports.sources import SourceUnavailable, open_source
from petiole.logs import logger
from petiole.web.problems import Problem

log = logger(__name__)

# How long a request waits for a database that another program has locked.
PATIENCE: Final = 1.0


class Offer:
    """The tables `names` of a database; `None`: all of them. The settings may narrow it further.

    Raises:
        SetupError: the database's driver isn't installed.
    """

    def __init__(self, database: Database, names: Collection[str] | None) -> None:
        open_source(database)
        self._database = database
        self._names = None if names is None else frozenset(names)

    def check(self, allowed: Collection[str]) -> None:
        """Refuse an offer of what the settings don't allow: every such export would fail in the worker.

        If they allow everything, a line of the log says that the worker can't check this offer.

        Raises:
            SetupError: it has such a table.
        """
        if self._names is not None and not allowed:
            log.warning(
                "offer_not_checked",
                extra={
                    "reason": "The worker exports whatever a message names. Set PETIOLE_EXPORTS_TABLES to the tables of "
                    "exports_blueprint, for web and worker."
                },
            )
        elif self._names is not None and not self._names <= set(allowed):
            more = ", ".join(sorted(self._names - set(allowed)))
            raise SetupError(
                f"exports_blueprint offers tables that PETIOLE_EXPORTS_TABLES doesn't allow: {more}. Add them there, or "
                "leave out tables=."
            )

    def catalog(self, allowed: Collection[str]) -> Catalog:
        """Return the tables that can be exported at this moment.

        Raises:
            Problem: 503, the database can't be read.
        """
        try:
            with open_source(self._database, patience=PATIENCE) as source:
                return source.catalog.only(self._names).only(allowed or None)
        except SourceUnavailable as error:
            raise Problem(503, "The database can't be read", str(error), headers={"Retry-After": "5"}) from error
