"""Text from outside: made visible on a line, and told from a spreadsheet's formulas in a file."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Final, TextIO

from gridpilot.errors import DataError

MAX_LINE: Final = 1_000_000  # characters of a line of a file
MARK: Final = "\ufffd"  # in place of a character that cannot be shown
JOINERS: Final = "\u200c\u200d"  # invisible, but some scripts need them
_UNSEEN: Final = r"\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_SIGN: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"  # ASCII, fullwidth, small
_FORMULA: Final = re.compile(rf"'*(?:[\t\r\n]|[{_UNSEEN}]*[{_SIGN}])")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


def hidden(character: str) -> bool:
    """Whether a character is a control, has no shape of its own, or ends a line."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def shown(text: str, most: int = 200) -> str:
    """A text from outside as one plain line: what cannot be seen, or would move what is around it, becomes a mark."""
    return "".join(MARK if hidden(c) else c for c in text.strip()[:most])


def line(text: str) -> str:
    """A text of any length as one line: blanks in a row are one, and what cannot be seen becomes a mark."""
    return marked(" ".join(text.split()))


def marked(text: str) -> str:
    """A text in which what cannot be seen is a mark; joiners stay."""
    return text if text.isprintable() else "".join(MARK if hidden(c) and c not in JOINERS else c for c in text)


def escape(text: str) -> str:
    """A text as a part of HTML; what cannot be seen, or would turn what is around it, becomes a mark."""
    return html.escape(marked(text))


def quoted(text: str) -> str:
    """A cell of a CSV file: what a spreadsheet would run as a formula gets a ' before it; a plain number does not."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unquoted(cell: str) -> str:
    """The text that `quoted` made this cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def lines(file: TextIO, name: str, most: int) -> Iterator[str]:
    """The lines of a file that may be endless, or one line: DataError where they are longer than memory should hold, or
    more than `most` characters together."""
    read = 0
    while text := file.readline(MAX_LINE):
        read += len(text)
        if len(text) == MAX_LINE:
            raise DataError(f"{name} has a line of more than {MAX_LINE} characters: expected a CSV file")
        if read > most:
            raise DataError(f"{name} has more than {most / 1e6:.0f} MB, which is the most that is read: cut it")
        yield text
