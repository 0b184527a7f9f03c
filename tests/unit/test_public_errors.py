"""Callers of Petiole can catch its errors: each error is public in the same place as the call."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

import petiole

PACKAGES = ("petiole", "petiole.client", "petiole.exports", "petiole.tqdm")
RAISES = re.compile(r"^ *Raises:\n(?P<lines>(?: +.*\n?)+)", re.MULTILINE)
ERROR = re.compile(r"^ *([A-Z]\w+)(?: or ([A-Z]\w+))?:", re.MULTILINE)


def callables(thing: object) -> Iterator[object]:
    """A function, or the public methods of a class or an object; inherited ones, too."""
    if inspect.isfunction(thing):
        yield thing
        return
    kind = thing if inspect.isclass(thing) else type(thing)
    for name, member in inspect.getmembers(kind):
        if (not name.startswith("_") or name == "__init__") and callable(member):
            yield member


def raised(thing: object) -> set[str]:
    """The errors that the docstring of a call names."""
    said = RAISES.search(inspect.getdoc(thing) or "")
    return {name for names in ERROR.findall(said["lines"]) for name in names if name} if said else set()


def public_calls() -> list[tuple[str, str, set[str]]]:
    found = [
        (package, getattr(call, "__qualname__", name), raised(call))
        for package in PACKAGES
        for name in getattr(import_module(package), "__all__", ())
        for call in callables(getattr(import_module(package), name))
    ]
    return [call for call in found if call[2]]


def test_the_calls_that_raise_are_found() -> None:
    assert {
        ("petiole", "Service.start"),
        ("petiole", "Authorization.authorize"),
        ("petiole", "Progress.emit"),
        ("petiole.client", "TaskClient.connect"),
        ("petiole.exports", "exports_blueprint"),
    } <= {call[:2] for call in public_calls()}


@pytest.mark.parametrize(("package", "call", "errors"), public_calls())
def test_what_a_public_call_raises_is_public(package: str, call: str, errors: set[str]) -> None:
    public = {*petiole.__all__, *getattr(import_module(package), "__all__", ()), *dir(builtins)}
    assert errors - public == set()
