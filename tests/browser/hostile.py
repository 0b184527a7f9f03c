"""Text that would have an effect if any part of the way didn't treat it as plain text."""

from typing import Final

# Several kinds of markup, all kinds of quotes, and a mark that reverses the direction of writing.
HOSTILE: Final = "</script><img src=x onerror=alert(1)><b>\"'`${1}\u202e"
# The same, with every kind of script, an emoji of several characters, white space, and a character that nothing prints.
MANUSCRIPT: Final = (
    f"{HOSTILE}\u0000\n\u05e9\u05dc\u05d5\u05dd, \U0001f469\u200d\U0001f469\u200d\U0001f467 "
    "zw\u00f6lf\t| \u20ac\r\n  indented\n"
)
