"""Widths and depths as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.cli.options import layers_of, parse_depth, parse_width
from edgevqa.errors import UsageError


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("0.25", "1/4"),
        ("1/4", "1/4"),
        (".5", "1/2"),
        (" 3/4 ", "3/4"),
        ("1", "1"),
        ("1.0", "1"),
        ("4/4", "1"),
    ],
)
def test_widths(text: str, width: str) -> None:
    assert parse_width(text) == Fraction(width)


@pytest.mark.parametrize("text", ["", "wide", "25%", "1/0", "1e-1", "nan", "inf", "-0.5", "1/2/3", "٣/٤", "1_0/2_0"])
def test_what_is_no_width(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a width: give .* such as 0\.25 or 1/4"):
        parse_width(text)


@pytest.mark.parametrize("text", ["0", "0/4", "1.25", "5/4", "0.0"])
def test_widths_out_of_range(text: str) -> None:
    with pytest.raises(UsageError, match=f"the width {text} is out of range"):
        parse_width(text)


def test_a_depth_is_a_count_or_a_fraction_and_never_both() -> None:
    assert parse_depth("2") == 2 and isinstance(parse_depth("2"), int)
    assert parse_depth("6/6") == Fraction(1) and isinstance(parse_depth("6/6"), Fraction)
    assert layers_of(parse_depth("1"), 6) == 1
    assert layers_of(parse_depth("6/6"), 6) == 6
    assert layers_of(parse_depth("1/3"), 6) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.5", "decimal fraction is ambiguous"),
        ("deep", "is not a depth: give"),
        ("0", "at least one layer"),
        ("7/6", "out of range"),
        ("0/6", "out of range"),
        ("1/0", "divides by zero"),
        ("-2", "is not a depth"),
    ],
)
def test_what_is_no_depth(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_depth(text)


def test_a_depth_must_fit_the_model() -> None:
    with pytest.raises(UsageError, match="the depth 9 is out of range: the model has 6 layers"):
        layers_of(9, 6)
    with pytest.raises(UsageError, match="the depth 1/4 is no whole number of layers: the model has 6"):
        layers_of(Fraction(1, 4), 6)


@given(st.text(max_size=20))
def test_any_text_is_a_value_in_range_or_a_usage_error(text: str) -> None:
    for parse in (parse_width, parse_depth):
        try:
            value = parse(text)
        except UsageError:
            continue
        assert value > 0
        assert isinstance(value, int) or value <= 1


@given(st.integers(1, 99), st.integers(1, 99))
def test_fractions_are_exact(numerator: int, denominator: int) -> None:
    if numerator <= denominator:
        text = f"{numerator}/{denominator}"
        assert parse_width(text) == parse_depth(text) == Fraction(numerator, denominator)
