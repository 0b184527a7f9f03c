"""How a script is described: its call, its header and its names in Lua come from one `Description`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Final, Generic, TypeAlias, TypeVar, get_type_hints

A = TypeVar("A", bound=tuple[str, ...])

_WIDTH: Final = 122

# A script's name, its keys, its arguments.
Step: TypeAlias = tuple[str, Sequence[str], Sequence[str | bytes]]


@dataclass(frozen=True, slots=True)
class Description(Generic[A]):
    """One script. `each_key` are the keys, and `rest` the arguments, that follow the named ones, any number of times.

    `replies` has what follows the first word of an answer; without such a word its key is empty.
    """

    name: str
    arguments: type[A]
    keys: tuple[str, ...]
    each_key: tuple[str, ...] = ()
    rest: str = ""
    replies: Mapping[str, str] = field(default_factory=dict)

    def step(self, keys: Sequence[str], arguments: A, rest: Sequence[str | bytes] = ()) -> Step:
        """Return a call of this script."""
        return self.name, keys, [*arguments, *rest] if rest else arguments

    def header(self) -> str:
        """Return the comment that the script begins with."""
        keys = list(self.keys)
        if self.each_key:
            keys.append(f"from EACH_KEY on {', '.join(self.each_key)} of each")
        arguments = [f"{name} ({meaning})" if meaning else name for name, meaning in meanings(self.arguments).items()]
        if self.rest:
            arguments.append(f"from REST on {self.rest}")
        paragraphs = [(" ".join((self.arguments.__doc__ or "").split()), ""), ("KEYS: " + ", ".join(keys), " " * 6)]
        if arguments:
            paragraphs.append(("ARGV: " + ", ".join(arguments), " " * 6))
        for number, (word, rest) in enumerate(self.replies.items()):
            paragraphs.append((("     | " if number else "Reply: ") + _answer(word, rest), " " * 7))
        lines = [line for text, indent in paragraphs for line in wrap(text, _WIDTH, subsequent_indent=indent)]
        return "".join(f"-- {line}\n" for line in lines)

    def names(self) -> str:
        """Return the Lua that binds keys and arguments to their names."""
        fields = meanings(self.arguments)
        keys = ", ".join(f"{name} = KEYS[{at}]" for at, name in enumerate(self.keys, 1))
        lines = [f"local keys = {{ {keys} }}"] if keys else []
        if self.each_key:
            lines.append(f"local EACH_KEY = {len(self.keys) + 1}")
        if fields:
            values = ", ".join(f"ARGV[{at}]" for at in range(1, len(fields) + 1))
            lines.append(f"local {', '.join(fields)} = {values}")
        if self.rest:
            lines.append(f"local REST = {len(fields) + 1}")
        return "\n".join(lines)


def _answer(word: str, rest: str) -> str:
    return "{" + ", ".join(part for part in (word, rest) if part) + "}" if word else rest


def meanings(arguments: type[tuple[str, ...]]) -> dict[str, str]:
    """Return the names of a script's arguments, and what is to say about each."""
    hints = get_type_hints(arguments, include_extras=True)
    return {name: ", ".join(reversed(getattr(hint, "__metadata__", ()))) for name, hint in hints.items()}
