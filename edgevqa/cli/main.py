"""The command `edgevqa`: commands are imported only when run; every error becomes a line and an exit code."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import io
import keyword
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from edgevqa import __version__
from edgevqa.cli.console import Shared, print_json
from edgevqa.errors import EdgeVQAError, EnvironmentFailure
from edgevqa.storage import explain_os_error

INTERRUPTED = 130
READER_GONE = 141
UNEXPECTED = EdgeVQAError.exit_code
USAGE = 2

COMMANDS: dict[str, str] = {
    "demo": "The whole chain on the bundled model and data, on this machine.",
    "models": "List the models that are there.",
    "info": "Every submodel of a model: parameters, MACs, FLOPs, size, score.",
    "train": "Train a slimmable model by self-distillation.",
    "import": "Turn a published checkpoint into a checkpoint folder.",
    "evaluate": "Score submodels or exported files on the test split.",
    "export": "Slice, export, quantize and gate submodels.",
    "bench": "Measure exported files on a target.",
    "pareto": "Pareto table, CSV and plot from what was measured.",
    "select": "The best file within limits, from what was measured.",
    "ask": "Answer a question about a picture with an exported file.",
    "predict": "Answer all questions of a file, for a challenge's server.",
    "targets": "List the device profiles.",
    "device": "Bring to a device what it needs, or take it away.",
    "doctor": "What a target is, has and lacks, and whether it can be measured well now.",
    "completion": "Print the completion script for your shell.",
}
"""Command -> its line in the overview. The click command is `command` in the module of `module_of`."""


def module_of(name: str) -> str:
    """The module of a command: `edgevqa.cli.<command>`, with an underscore behind a word of Python's."""
    return f"edgevqa.cli.{name}" + ("_" if keyword.iskeyword(name) else "")


class LazyGroup(click.Group):
    """A group that imports a command when it is run, and ends every error in one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands whose module is there, in the order of the chain."""
        return [name for name in COMMANDS if importlib.util.find_spec(module_of(name)) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None when there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(module_of(cmd_name)).command
        for option in command.params:
            # click would name the variable after the argument of the function, not after the flag.
            if isinstance(option, click.Option) and option.envvar is None:
                flag = max(option.opts, key=len).lstrip("-")
                option.envvar = f"EDGEVQA_{cmd_name}_{flag}".upper().replace("-", "_")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was asked for; an unknown one is an error that names the nearest."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            ctx.fail(f"there is no command {name!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from COMMANDS, so that `--help` imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; in standalone mode it ends in SystemExit with an exit code of the contract."""
        arguments = list(sys.argv[1:] if args is None else args)
        shared = Shared()
        extra.setdefault("obj", shared)
        prog_name = prog_name or "edgevqa"
        if not standalone_mode:
            return super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show a character gets a question mark, not a crash.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            result = super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except Exception as error:
            # An unknown option fails before --json is seen by its own callback.
            shared.json = shared.json or "--json" in arguments
            _fail(error, shared)
        except KeyboardInterrupt:
            _fail(click.Abort(), shared)
        # click hands back the code of `ctx.exit(code)`; commands themselves return nothing.
        sys.exit(result if isinstance(result, int) else 0)


def _fail(error: Exception, shared: Shared) -> NoReturn:
    """Print one line for an error, or a JSON object on stdout, and exit with its code."""
    if isinstance(error, BrokenPipeError):
        # The reader has gone (`edgevqa pareto | head`); keep Python from complaining while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_GONE)
    if shared.traceback:
        traceback.print_exception(error)
    message, hint, code = _describe(error)
    if shared.json:
        print_json({"error": message, "exit_code": code})
    else:
        click.echo(f"error: {message}" if code != INTERRUPTED else message, err=True)
        if hint:
            click.echo(hint, err=True)
    sys.exit(code)


def _describe(error: Exception) -> tuple[str, str, int]:
    """What to say about an error: the message, a hint or nothing, the exit code."""
    if isinstance(error, EdgeVQAError):
        return str(error), "", error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f"Try '{context.command_path} --help'." if context is not None else ""
        return " ".join(error.format_message().split()), hint, USAGE
    if isinstance(error, click.Abort):
        return "interrupted; what was finished is kept, the same command goes on from there", "", INTERRUPTED
    if isinstance(error, MemoryError):
        return "not enough memory for this; close other programs or use a smaller model", "", UNEXPECTED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return str(explain_os_error(error, Path(error.filename or "a file"))), "", EnvironmentFailure.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}", "", EnvironmentFailure.exit_code
    kind = type(error).__name__
    return (
        f"unexpected {kind}: {error}".rstrip(": "),
        "This is a mistake in edgevqa; please report it with what EDGEVQA_TRACEBACK=1 shows.",
        UNEXPECTED,
    )


@click.group(
    "edgevqa",
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={
        "auto_envvar_prefix": "EDGEVQA",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
        "show_default": True,
    },
    epilog="\b\nStart with:\n  edgevqa demo\n\n"
    "Every option can come from the environment: EDGEVQA_PARETO_TARGET=x86 is `pareto --target x86`.",
)
@click.version_option(__version__, "--version", message="edgevqa %(version)s")
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
@click.pass_context
def main(context: click.Context, traceback: bool) -> None:
    """Find the visual-question-answering file that answers best within a device's limits.

    A model that was trained once to be slimmable is sliced, exported to ONNX and TFLite, quantized, checked
    against the original and measured on the device; the result is a Pareto table and a file to ship.
    """
    context.ensure_object(Shared).traceback = traceback
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
