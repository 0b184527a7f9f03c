"""Text that would do something if any part of the way took it for more than text."""

from typing import Final

# Markup of several kinds, quotes of all kinds, and a mark that turns the direction of writing.
HOSTILE: Final = "</script><img src=x onerror=alert(1)><b>\"'`${1}\u202e"
