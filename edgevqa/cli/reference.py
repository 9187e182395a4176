"""`python -m edgevqa.cli.reference` prints docs/commands.md: the help of every command, as a page."""

from __future__ import annotations

from typing import Any

import click

from edgevqa.cli.main import main

WIDTH = 100
TITLE = """# Commands

This page is made by `make docs` from what `--help` prints. Every option can also come from the environment:
`EDGEVQA_PARETO_TARGET=x86` is `edgevqa pareto --target x86`, and `EDGEVQA_EXPORT_WIDTH=1/4` is
`edgevqa export --width 1/4`. `EDGEVQA_JSON=1` is `--json` for every command, and `EDGEVQA_TRACEBACK=1` shows
where an error came from.

Exit codes: 0 done; 1 a gate or a limit failed; 2 the command or a file was wrong; 3 the device or the
environment failed; 4 not enough was measured to say; 130 interrupted.
"""


def _pages(command: click.Command, parent: click.Context, name: str, settings: dict[str, Any]) -> list[str]:
    """The help of a command and, if it is a group, of the commands in it."""
    context = click.Context(command, parent=parent, info_name=name, **{**command.context_settings, **settings})
    pages = [f"## {context.command_path}\n\n```\n{command.get_help(context).strip()}\n```\n"]
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                pages += _pages(found, context, inner, settings)
    return pages


def reference() -> str:
    """The page in Markdown."""
    settings = {"max_content_width": WIDTH, "terminal_width": WIDTH}
    root = click.Context(main, info_name="edgevqa", **{**main.context_settings, **settings})
    pages = [TITLE]
    for name in main.list_commands(root):
        command = main.get_command(root, name)
        if command is not None:
            pages += _pages(command, root, name, settings)
    return "\n".join(pages)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
