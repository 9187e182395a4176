"""What every command promises: help with an example, and --json."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edgevqa.cli.main import COMMANDS, main

CONTEXT = click.Context(main)
THERE = main.list_commands(CONTEXT)


def command(name: str) -> click.Command:
    found = main.get_command(CONTEXT, name)
    assert found is not None
    return found


def test_pareto_select_and_completion_are_there() -> None:
    assert {"pareto", "select", "completion"} <= set(THERE) <= set(COMMANDS)


@pytest.mark.parametrize("name", THERE)
def test_help_has_an_example_and_json(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"edgevqa {name}" in result.stdout.split("Example")[1]
    assert "--json" in result.stdout


@pytest.mark.parametrize("name", THERE)
def test_every_option_has_help(name: str) -> None:
    for option in command(name).params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts[0]} has no help"
