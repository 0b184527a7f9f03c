"""What a Celery canvas asks for, whichever object asks for it: two that do the same have the same description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from celery import Signature

# Options that Celery gives to a canvas while it prepares it for one publication.
_OF_ONE_PUBLICATION: Final = frozenset(
    ("task_id", "root_id", "parent_id", "group_id", "group_index", "reply_to", "chord", "headers")
)


@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """What a canvas asks for, as text; made where it is read."""

    canvas: Signature

    def __repr__(self) -> str:
        return repr(described(self.canvas))


def described(value: Any) -> Any:
    """Return a canvas as plain lists and tuples, without the ids of a publication; everything else as it is."""
    if isinstance(value, Signature):
        options = {name: option for name, option in value.options.items() if name not in _OF_ONE_PUBLICATION}
        return value["task"], described(value.args), described(value.kwargs), described(options), value.immutable
    if isinstance(value, Mapping):
        return sorted(((str(name), described(one)) for name, one in value.items()), key=lambda item: item[0])
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    return value
