"""The profiles of measured targets: one that was given by path is kept beside the records, for its limits."""

from __future__ import annotations

from pathlib import Path

from edgevqa.devices.targets import Target, find_profiles, load_target
from edgevqa.errors import InputError
from edgevqa.storage import write_bytes

PROFILES_NAME = "targets"


def keep_profile(target: Target, results: Path) -> None:
    """Keep a copy of a profile that `find_profiles` would not find.

    Raises:
        InputError: the profile cannot be read any more.
        EnvironmentFailure: the copy cannot be written.
    """
    path = results / PROFILES_NAME / f"{target.name}.toml"
    if target.source is None:
        return
    if target.source.resolve() in {known.resolve() for known in find_profiles().values()}:
        path.unlink(missing_ok=True)
        return
    try:
        content = target.source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the target profile {target.source}: {error.strerror}") from error
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def find_profile(name_or_path: str, results: Path) -> Target | None:
    """The profile in a TOML file, or of a target that was measured; None where there is none of that name.

    Raises:
        UsageError, InputError: the profile makes no sense, or cannot be read.
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        return load_target(name_or_path)
    kept = results / PROFILES_NAME / f"{name_or_path}.toml"
    if kept.is_file():
        return load_target(kept)
    return load_target(name_or_path) if name_or_path in find_profiles() else None
