"""`edgevqa completion`: the script that teaches a shell to complete edgevqa's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgevqa.cli.console import print_json
from edgevqa.cli.options import examples, json_option


@click.command(
    epilog=examples(
        "edgevqa completion bash > ~/.local/share/bash-completion/completions/edgevqa",
        'edgevqa completion zsh > "${fpath[1]}/_edgevqa"',
        "edgevqa completion fish > ~/.config/fish/completions/edgevqa.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def command(context: click.Context, shell: str, as_json: bool) -> None:
    """Print the completion script for your shell.

    Put it where the shell looks for completions and open a new shell.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    completion = kind(context.find_root().command, {}, "edgevqa", "_EDGEVQA_COMPLETE")
    # The class's own `source` first starts the shell to ask its version, which is of no use for printing.
    script = completion.source_template % completion.source_vars()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
