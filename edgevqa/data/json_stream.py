"""JSON objects that are read entry by entry: what was read before is not in memory any more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from edgevqa.errors import InputError

CHUNK = 1 << 20
LONGEST = 64 << 20
"""Characters of an entry at most."""
_SPACE = re.compile(r"[ \t\n\r]*")


class _Window:
    """The part of a text file that is looked at."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.text, self.place = "", 0

    def more(self) -> bool:
        """Read on; whether there was something."""
        read = self._stream.read(CHUNK)
        self.text, self.place = self.text[self.place :] + read, 0
        if len(self.text) > LONGEST:
            raise ValueError(f"an entry has more than {LONGEST >> 20} million characters")
        return bool(read)

    def next(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            found = _SPACE.match(self.text, self.place)
            assert found is not None
            self.place = found.end()
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def take(self, wanted: str) -> str:
        """Take one of these characters."""
        found = self.next()
        if not found or found not in wanted:
            raise ValueError(f"{' or '.join(wanted)} expected, not {found or 'the end'!r}")
        self.place += 1
        return found

    def value(self, decoder: json.JSONDecoder) -> Any:
        """Take a value."""
        self.next()
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.place)
            except json.JSONDecodeError:
                if not self.more():
                    raise
                continue
            if end < len(self.text):  # else a number may go on behind the window
                self.place = end
                return value
            if not self.more():
                self.place = len(self.text)
                return value


def stream_object(
    path: Path, pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None
) -> Iterator[tuple[str, Any]]:
    """The entries of the object in a file, in their order.

    Args:
        path: the file.
        pairs: what makes the objects inside, see `json.JSONDecoder`.

    Raises InputError, perhaps behind some entries, for a file that is missing or holds anything else.
    """
    decoder = json.JSONDecoder(object_pairs_hook=pairs)
    try:
        with path.open(encoding="utf-8") as stream:
            window = _Window(stream)
            window.take("{")
            if window.next() == "}":
                return
            while True:
                key = window.value(decoder)
                if not isinstance(key, str):
                    raise ValueError("a key should be a text")
                window.take(":")
                yield key, window.value(decoder)
                if window.take(",}") == "}":
                    break
            if window.next():
                raise ValueError("something stands behind the object")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None
