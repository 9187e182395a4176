"""The frame of the command line: what is loaded, how errors end, what the options read."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from edgevqa import __version__
from edgevqa.cli.main import COMMANDS, main
from edgevqa.cli.options import examples, json_option
from edgevqa.errors import DeviceError, GateFailed, Inconclusive, InputError, MissingExtra

HEAVY = ("torch", "numpy", "pandas", "onnx", "onnxruntime", "matplotlib", "rich", "PIL")
ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgevqa", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Adds a command `boom` to the real group that raises what it is given."""

    def add(error: BaseException) -> None:
        @click.command(epilog=examples("edgevqa boom"))
        @click.option("--any", "any_pair", is_flag=True)
        @json_option
        def command(any_pair: bool, as_json: bool) -> None:
            """Fail."""
            raise GateFailed("any was asked for") if any_pair else error

        module = ModuleType("edgevqa.cli.boom")
        module.__spec__ = ModuleSpec("edgevqa.cli.boom", None)
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "edgevqa.cli.boom", module)
        monkeypatch.setitem(COMMANDS, "boom", "Fail.")

    return add


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_the_overview_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom edgevqa.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as e: assert not e.code, e.code\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_package_itself_loads_nothing_heavy_and_its_public_names_exist() -> None:
    script = (
        "import sys, edgevqa\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])\n"
        "for name in edgevqa.__all__: getattr(edgevqa, name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["LOADED []"]


def test_version_and_overview() -> None:
    assert run("--version").stdout == f"edgevqa {__version__}\n"
    bare, asked = run(), run("--help")
    assert bare.returncode == asked.returncode == 0
    assert bare.stdout == asked.stdout
    assert "pareto" in asked.stdout and "Pareto table, CSV and plot" in asked.stdout


def test_a_command_without_a_module_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "teleport", "Go elsewhere.")
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0 and "teleport" not in result.stdout
    result = CliRunner().invoke(main, ["teleport"])
    assert result.exit_code == 2 and "there is no command 'teleport'" in result.stderr


def test_an_unknown_command_names_the_nearest() -> None:
    done = run("paretto")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: there is no command 'paretto'; did you mean 'pareto'?\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GateFailed("the file answers otherwise"), 1),
        (InputError("weights.safetensors is cut short"), 2),
        (DeviceError("pi did not answer"), 3),
        (MissingExtra("torch", "export"), 3),
        (Inconclusive("p90 needs 64 queries, there are 12"), 4),
    ],
)
def test_every_error_is_one_line_and_its_exit_code(failing, error: Exception, code: int) -> None:
    failing(error)
    result = CliRunner().invoke(main, ["boom"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"error: {error}\n")
    result = CliRunner().invoke(main, ["boom", "--json"])
    assert result.exit_code == code and result.stderr == ""
    assert json.loads(result.stdout) == {"error": str(error), "exit_code": code}


def test_json_can_be_asked_for_by_the_environment(failing) -> None:
    failing(GateFailed("no"))
    result = CliRunner(env={"EDGEVQA_JSON": "1"}).invoke(main, ["boom"])
    assert json.loads(result.stdout) == {"error": "no", "exit_code": 1}


def test_an_option_can_come_from_the_environment_under_its_own_name(failing) -> None:
    failing(GateFailed("no"))
    for name, said in (("EDGEVQA_BOOM_ANY", "any was asked for"), ("EDGEVQA_BANG_ANY", "no")):
        result = CliRunner(env={name: "1"}).invoke(main, ["boom"])
        assert result.stderr == f"error: {said}\n"


def test_an_unexpected_error_is_short_and_its_origin_can_be_seen(failing) -> None:
    failing(ZeroDivisionError("by nought"))
    result = CliRunner().invoke(main, ["boom"])
    assert result.exit_code == 3
    assert result.stderr.startswith("error: unexpected ZeroDivisionError: by nought\n")
    assert "Traceback" not in result.stderr and "EDGEVQA_TRACEBACK" in result.stderr
    for arguments, environment in ((["--traceback", "boom"], {}), (["boom"], {"EDGEVQA_TRACEBACK": "1"})):
        result = CliRunner(env=environment).invoke(main, arguments)
        assert result.exit_code == 3 and "Traceback (most recent call last)" in result.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "/mnt/x"), "/mnt/x: the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "cannot use /root/x: Permission denied"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_the_system_refuses_is_said_plainly(failing, error: Exception, said: str) -> None:
    failing(error)
    result = CliRunner().invoke(main, ["boom"])
    assert result.exit_code == 3 and said in result.stderr and result.stderr.count("\n") == 1


def test_ctrl_c_is_one_line_and_130(failing) -> None:
    failing(KeyboardInterrupt())
    result = CliRunner().invoke(main, ["boom"])
    assert result.exit_code == 130
    assert result.stderr.strip().startswith("interrupted;") and "Traceback" not in result.stderr


def test_a_usage_error_is_two_and_json_when_asked(failing) -> None:
    failing(GateFailed("never reached"))
    result = CliRunner().invoke(main, ["boom", "--speed"])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["error: No such option '--speed'.", "Try 'edgevqa boom --help'."]
    result = CliRunner().invoke(main, ["boom", "--speed", "--json"])
    assert json.loads(result.stdout) == {"error": "No such option '--speed'.", "exit_code": 2}


def test_a_reader_that_leaves_is_no_crash() -> None:
    line = f"{sys.executable} -m edgevqa completion bash --json | true"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_edgevqa(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0 and f"_EDGEVQA_COMPLETE={shell}_complete" in done.stdout
    assert json.loads(run("completion", shell, "--json").stdout) == {
        "shell": shell,
        "script": done.stdout[:-1],
    }


def test_completion_completes() -> None:
    done = run(_EDGEVQA_COMPLETE="bash_complete", COMP_WORDS="edgevqa par", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,pareto"]
