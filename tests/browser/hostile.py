"""Text that would have an effect if any part of the way didn't treat it as plain text."""

from typing import Final

# Several kinds of markup, all kinds of quotes, and a mark that reverses the direction of writing.
HOSTILE: Final = "</script><img src=x onerror=alert(1)><b>\"'`${1}\u202e"
