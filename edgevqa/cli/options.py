"""Options that several commands share, and the parsers of widths and depths."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from edgevqa.cli.console import Shared
from edgevqa.errors import UsageError

FILE = click.Path(dir_okay=False, path_type=Path)
"""The type of an option that names a file."""

_DECIMAL = re.compile(r"\d{0,6}\.?\d{1,9}", re.ASCII)
_RATIO = re.compile(r"\d{1,6}/\d{1,6}", re.ASCII)
_COUNT = re.compile(r"\d{1,6}", re.ASCII)


def parse_width(text: str) -> Fraction:
    """The width in a text such as `0.25` or `1/4`; raises UsageError unless it is above 0 and at most 1."""
    text = text.strip()
    if not (_DECIMAL.fullmatch(text) or _RATIO.fullmatch(text)) or text.endswith("/0"):
        raise UsageError(f"{text!r} is not a width: give a fraction of the full width, such as 0.25 or 1/4")
    width = _fraction(text, "width")
    if not 0 < width <= 1:
        raise UsageError(f"the width {text} is out of range: it is a fraction above 0 and at most 1, such as 1/4")
    return width


def parse_depth(text: str) -> int | Fraction:
    """The depth in a text: `2` is a count of layers (int), `1/3` or `6/6` a fraction of them (Fraction).

    Raises UsageError for anything else; `layers_of` turns either into a count of layers.
    """
    text = text.strip()
    if _COUNT.fullmatch(text):
        if int(text) == 0:
            raise UsageError("the depth 0 is out of range: at least one layer must stay")
        return int(text)
    if not _RATIO.fullmatch(text):
        decimal = " (a decimal fraction is ambiguous here)" if _DECIMAL.fullmatch(text) else ""
        raise UsageError(
            f"{text!r} is not a depth{decimal}: give a count of layers such as 2, or a fraction such as 1/3"
        )
    depth = _fraction(text, "depth")
    if not 0 < depth <= 1:
        raise UsageError(f"the depth {text} is out of range: a fraction is above 0 and at most 1, such as 1/3")
    return depth


def layers_of(depth: int | Fraction, total: int) -> int:
    """How many of `total` layers a depth keeps.

    Raises UsageError when a fraction is no whole number of layers, or more are asked for than there are.
    """
    if isinstance(depth, int):
        if depth > total:
            raise UsageError(f"the depth {depth} is out of range: the model has {total} layers")
        return depth
    layers = depth * total
    if layers.denominator != 1:
        raise UsageError(f"the depth {depth} is no whole number of layers: the model has {total}")
    return int(layers)


def _fraction(text: str, what: str) -> Fraction:
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise UsageError(f"the {what} {text} divides by zero") from None


def _width(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Fraction | None:
    return None if value is None else parse_width(value)


def _depth(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | Fraction | None:
    return None if value is None else parse_depth(value)


def _remember_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    context.ensure_object(Shared).json = value
    return value


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    envvar="EDGEVQA_JSON",
    callback=_remember_json,
    help="Print JSON, errors included.",
)
"""`--json` as the argument `as_json`; errors then come as JSON on stdout, too."""

skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Tell the entries of your data that cannot be used, and go on without them."
)
"""`--skip-bad` as the argument `skip_bad`."""

results_option = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    help="The folder that holds what was measured.",
)
"""`--results FOLDER` as the argument `results`."""

width_option = click.option(
    "--width", metavar="FRACTION", callback=_width, help="Of the full hidden size: 0.25 or 1/4."
)
"""`--width` as a Fraction or None."""

depth_option = click.option(
    "--depth", metavar="LAYERS", callback=_depth, help="A count of layers (2) or a fraction (1/3, 6/6)."
)
"""`--depth` as an int (layers), a Fraction (of the layers) or None; see `layers_of`."""


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if not names:
        raise UsageError(f"{_parameter.opts[0]} needs at least one name")
    return names


def names_option(option: str, argument: str, default: str | None, text: str) -> Callable[[Any], Any]:
    """An option that takes names divided by commas, as a tuple or None."""
    return click.option(option, argument, metavar="NAMES", default=default, callback=_names, help=text)


def examples(*lines: str) -> str:
    """The epilog of a command's help with one example a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
