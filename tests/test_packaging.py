"""The package list in setup.cfg is written by hand; nothing may be missing from it."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_is_installed(setup_cfg: configparser.ConfigParser) -> None:
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "edgevqa").rglob("__init__.py")}
    listed = set(setup_cfg["options"]["packages"].split())
    assert listed == there | {"edgevqa.targets"}


def test_every_target_profile_is_installed(setup_cfg: configparser.ConfigParser) -> None:
    assert "edgevqa.targets = targets" in setup_cfg["options"]["package_dir"]
    assert setup_cfg["options.package_data"]["edgevqa.targets"] == "*.toml"
    files = [file for file in (ROOT / "targets").iterdir() if file.is_file()]
    strangers = [file.name for file in files if file.suffix != ".toml" and file.name != "__init__.py"]
    assert strangers == []


def test_every_source_that_is_compiled_on_the_users_machine_is_installed(setup_cfg: configparser.ConfigParser) -> None:
    installed: set[Path] = set()
    for package, patterns in setup_cfg["options.package_data"].items():
        folder = ROOT.joinpath(*package.split("."))
        installed.update(path for pattern in patterns.split() for path in folder.glob(pattern))
    sources = {path for suffix in ("c", "h", "sh") for path in (ROOT / "edgevqa").rglob(f"*.{suffix}")}
    assert sources and sources <= installed, sources - installed


def test_every_dependency_is_bounded(setup_cfg: configparser.ConfigParser) -> None:
    lists = [setup_cfg["options"]["install_requires"], *setup_cfg["options.extras_require"].values()]
    for requirement in (line for text in lists for line in text.split("\n") if line):
        assert requirement.startswith("edgevqa[") or "==" in requirement or "<" in requirement, requirement


def test_the_lock_holds_exact_public_versions() -> None:
    for line in (ROOT / "requirements" / "lock.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            assert name and version and not set("+@/ ") & set(line), line
