"""Plain text from what a program writes for a terminal."""

import codecs
import io
import re

# Sequences of ECMA-48 and xterm: CSI (colours, cursor), OSC and its kin (titles, links), those of two or three characters;
# and control characters.
ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])|[\x00-\x08\x0b-\x1f\x7f]"
)
# What may become one with the next bytes.
BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
LONGEST = 4096  # characters; a longer one never ends, and is text


class Plain:
    """A stream's bytes as text, in pieces of any size: UTF-8, any line ends as "\\n", without escape sequences."""

    def __init__(self):
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
        self._begun = ""

    def feed(self, data, *, final=False):
        text = self._begun + self._decoder.decode(data, final)
        begun = None if final else BEGUN.search(text, max(0, len(text) - LONGEST))
        end = begun.start() if begun else len(text)
        self._begun = text[end:]
        return ESCAPE.sub("", text[:end])
