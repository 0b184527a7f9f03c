"""Each script of the Redis journal against its one description: header, names and answers."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from petiole.journal.redis.calls import SCRIPTS
from petiole.journal.redis.description import meanings
from petiole.journal.redis.scripts import Limits, Scripts, read_lua
from petiole.journal.redis.tables import TABLES

LUA = sorted(path.name.removesuffix(".lua") for path in (files("petiole.journal.redis") / "lua").iterdir())
SHARED = [name for name in LUA if name.startswith("_")]
LOADED = Scripts(Limits(1, 1, 1, 1, 1), cluster=False)
WORD = re.compile(r"[A-Za-z_]+")


def code_of(source):
    """Return a script without its comments."""
    return re.sub(r"--[^\n]*", "", source)


def test_every_script_is_described_and_every_description_has_a_script():
    assert set(LUA) - set(SHARED) == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_says_what_the_description_says(name):
    source = read_lua(name)
    header = re.match(r"(--[^\n]*\n)*", source)[0]
    assert header == SCRIPTS[name].header(), f"Begin {name}.lua with this:\n{SCRIPTS[name].header()}"


@pytest.mark.parametrize("name", LUA)
def test_no_script_counts_its_keys_and_arguments_itself(name):
    assert re.findall(r"(?:KEYS|ARGV)\[\s*\d", code_of(read_lua(name))) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_uses_every_key_and_argument_that_it_is_given(name):
    description = SCRIPTS[name]
    body = code_of(LOADED.get(name).source.replace(description.names(), ""))
    words = set(WORD.findall(body))
    assert set(meanings(description.arguments)) - words == set()
    assert ("EACH_KEY" in words, "REST" in words) == (bool(description.each_key), bool(description.rest))
    used = set(re.findall(r"\bkeys\.(\w+)", body))
    assert used <= set(description.keys)
    # A script that writes an inbox gets all keys of a feed, though an inbox has no lease.
    assert set(description.keys) - used <= {"leases"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_answers_in_the_words_of_its_description(name):
    said = set(re.findall(r"(?:return \{ |reply\(|claimed\()'([a-z_]+)'", code_of(read_lua(name))))
    assert said == {word for word in SCRIPTS[name].replies if word}


@pytest.mark.parametrize("name", TABLES)
def test_no_script_defines_what_python_defines(name):
    """Each table, limit and word is used, and defined in no Lua file."""
    sources = {lua: code_of(read_lua(lua)) for lua in LUA}
    assert any(name in WORD.findall(source) for source in sources.values())
    assert [lua for lua, source in sources.items() if re.search(rf"local (function )?{name}\b", source)] == []


@pytest.mark.parametrize("name", LUA)
def test_no_script_types_a_state_again(name):
    states = r"'(queued|running|retrying|stalled|cancelling|succeeded|failed|cancelled|lost)'"
    assert re.findall(states, code_of(read_lua(name))) == []
