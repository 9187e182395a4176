"""Programs as users start them, and folders in which something was exported and measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgevqa.cli.main import main
from edgevqa.data.dataset import SPLITS, write_split
from edgevqa.data.scenes import SEED, VERSION, generate_split
from edgevqa.pipeline import this_machine

HERE = this_machine().name
SMALLEST = ("--width", "1/4", "--depth", "1")
BARE = ("--width", "0.25", "--depth", "2")
FEW_SCENES = {"train": 20, "validation": 3, "test": 12}
BLOCKED = ("torch", "onnx", "onnxscript", "onnxsim", "litert_torch", "ai_edge_quantizer")
"""What only the extra `export` brings."""


def call(*arguments: object) -> Result:
    """Run a command in this process, in the current folder."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def says(result: Result | subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """Check that a command ended in one clear line of error, with this exit code and these texts in it."""
    status = result.exit_code if isinstance(result, Result) else result.returncode
    lines = result.stderr.splitlines()
    assert status == code, (status, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr and "unexpected" not in result.stderr, result.stderr
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and (lines[-1] == errors[0] or lines[-1].startswith("Try 'edgevqa ")), result.stderr
    for text in texts:
        assert text in errors[0], errors[0]


class Program:
    """Starts `edgevqa` in a process of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def start(self, *arguments: object, cwd: Path, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgevqa", *map(str, arguments)]
        environment = {**self.environment, **more}
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __call__(self, *arguments: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, cwd=cwd, **more)
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: object, cwd: Path, code: int = 0, **more: str) -> Any:
        """What a command prints with --json."""
        done = self(*arguments, "--json", cwd=cwd, **more)
        assert done.returncode == code, (done.stdout, done.stderr)
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def program(child_environment: dict[str, str]) -> Program:
    return Program(child_environment)


@pytest.fixture(scope="session")
def light_program(child_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program on a device that has neither torch nor the converters, in any of its processes."""
    folder = tmp_path_factory.mktemp("without-torch")
    script = f"import sys\nfor name in {BLOCKED!r}:\n    sys.modules[name] = None\n"
    (folder / "sitecustomize.py").write_text(script)
    path = f"{folder}:{child_environment['PYTHONPATH']}"
    return Program({**child_environment, "PYTHONPATH": path})


@pytest.fixture(scope="session")
def few_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the dataset `scenes` has only a few scenes."""
    cache = tmp_path_factory.mktemp("few-scenes")
    for name in SPLITS:
        path = cache / "data" / f"scenes-v{VERSION}" / f"{name}.npz"
        write_split(path, generate_split(name, FEW_SCENES[name]), SEED)
    return cache


@pytest.fixture(scope="session")
def exported(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `edgevqa export --width 0.25 --depth 2` was run. Do not change it."""
    folder = tmp_path_factory.mktemp("exported")
    report = program.json("export", *BARE, cwd=folder)
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="session")
def measured(light_program: Program, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That folder, after `edgevqa bench --protocol smoke` without torch. Do not change it."""
    folder = tmp_path_factory.mktemp("measured") / "work"
    shutil.copytree(exported, folder)
    report = light_program.json("bench", "--protocol", "smoke", cwd=folder)
    (folder / "report.json").write_text(json.dumps(report["records"]))
    return folder


@pytest.fixture
def workplace(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `exported`, as the current folder."""
    folder = tmp_path / "work"
    shutil.copytree(exported, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Makes an empty folder the current one; call it to see what is in it."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda: sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
