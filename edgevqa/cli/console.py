"""What commands print: JSON, tables, notes and a progress bar. Rich is imported only when it is needed."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from edgevqa.errors import EdgeVQAError
from edgevqa.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar
    from rich.progress import TaskID

PIPED_WIDTH = 240


@dataclass
class Shared:
    """What all commands of one run share."""

    json: bool = False
    traceback: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a terminal table.

    Args:
        heading: what stands above it.
        number: whether it is aligned to the right.
    """

    heading: str
    number: bool = False


def plain(value: Any) -> Any:
    """The value with only what JSON has: NaN and infinities become null, paths and fractions strings."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, with sorted keys."""
    click.echo(json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False))


def end(error: EdgeVQAError, as_json: bool) -> NoReturn:
    """End a command whose result is printed already with an error's exit code; JSON stays the only thing on stdout."""
    if as_json:
        click.get_current_context().exit(error.exit_code)
    raise error


def note(message: str) -> None:
    """Say something beside the result, on stderr."""
    click.echo(message, err=True)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print a table on stdout; as wide as it needs to be when piped.

    Args:
        columns: the columns.
        rows: one string a column; `[bold]...[/]` and the like are rich markup.
        title: a line above the table.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.number else "left"
        table.add_column(column.heading, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


class Notes(Silent):
    """Shows notes alone, where there is no terminal for a bar."""

    def note(self, line: str) -> None:
        """Show the line on stderr."""
        note(line)


class Display:
    """The bars of one terminal, of whatever thread; it is there while there are any."""

    def __init__(self) -> None:
        self._bar: RichBar | None = None
        self._count, self._lock = 0, threading.Lock()

    def add(self, description: str, total: int) -> TaskID:
        """Show a new bar below the others."""
        with self._lock:
            if self._bar is None:
                self._bar = _bar()
                self._bar.start()
            self._count += 1
            return self._bar.add_task(description, total=total)

    def update(self, task: TaskID, description: str, advance: int) -> None:
        """Move a bar on."""
        with self._lock:
            if self._bar is not None:
                self._bar.update(task, description=description, advance=advance)

    def remove(self, task: TaskID) -> None:
        """Take a bar away; with the last one the display ends."""
        with self._lock:
            if self._bar is None:
                return
            self._bar.remove_task(task)
            self._count -= 1
            if self._count == 0:
                self._end()

    def note(self, line: str) -> None:
        """Show a line above the bars."""
        with self._lock:
            if self._bar is None:
                note(line)
            else:
                self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """End the display and give the terminal back, whatever was under way."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._count = None, 0


class RichProgress:
    """Shows pieces of work, one bar for each that is under way, on stderr.

    Args:
        display: where; several may share one.
        name: what stands before every description.
    """

    def __init__(self, display: Display | None = None, name: str = "") -> None:
        self._display, self._prefix = display or Display(), f"{name}: " if name else ""
        self._tasks: list[TaskID] = []

    def start(self, description: str, total: int) -> None:
        """Show a new bar of `total` steps below those under way."""
        self._tasks.append(self._display.add(self._prefix + description, total))

    def step(self, description: str, amount: int = 1) -> None:
        """Move the newest bar on and say what is done now."""
        if self._tasks:
            self._display.update(self._tasks[-1], self._prefix + description, amount)

    def finish(self) -> None:
        """Take the newest bar away; with the last one the display ends."""
        if self._tasks:
            self._display.remove(self._tasks.pop())

    def note(self, line: str) -> None:
        """Show the line above the bars."""
        self._display.note(self._prefix + line)


def _bar() -> RichBar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
        console=Console(stderr=True),
        transient=True,
    )


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """A progress bar on stderr while the block runs; notes alone when stderr is not a terminal."""
    with show_progresses([""]) as progresses:
        yield progresses[""]


@contextlib.contextmanager
def show_progresses(names: Sequence[str]) -> Iterator[Mapping[str, Progress]]:
    """A progress bar for each of several pieces of work at once, by its name; see `show_progress`."""
    if not sys.stderr.isatty():
        yield {name: Notes() for name in names}
        return
    display = Display()
    try:
        yield {name: RichProgress(display, name) for name in names}
    finally:
        display.close()
