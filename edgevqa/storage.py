"""Files that are whole or absent: atomic writes, folder locks, hashes and folder names.

Everything that edgevqa keeps is written to a temporary name beside its place, synced, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgevqa.errors import EnvironmentFailure, InputError, IntegrityError

TEMPORARY_PREFIX = ".tmp-"


def explain_os_error(error: OSError, path: Path) -> EnvironmentFailure:
    """Turn an operating system's refusal to write into a line that says what to do."""
    advice = {
        errno.ENOSPC: "the disk is full; free some space or choose another folder",
        errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.EACCES: "no permission to write there; choose another folder or change its permissions",
        errno.EPERM: "no permission to write there; choose another folder or change its permissions",
        errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder",
        errno.EFBIG: "the system allows no files of that size there; raise `ulimit -f` or choose another folder",
    }.get(error.errno or 0, error.strerror or str(error))
    return EnvironmentFailure(f"cannot write {path}: {advice}")


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; raises EnvironmentFailure with the reason when that is refused."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise EnvironmentFailure(f"cannot make the folder {path}: a file of that name is in the way") from None
    except OSError as error:
        raise explain_os_error(error, path) from error
    return path


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader or a crash sees the old content or the new one, never a part."""
    make_folder(path.parent)
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically, see `write_bytes`."""
    write_bytes(path, content.encode())


def dump_json(value: Any) -> str:
    """JSON with sorted keys and a final newline, so that equal values are equal bytes."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON atomically, see `write_bytes` and `dump_json`."""
    write_text(path, dump_json(value))


def read_json(path: Path) -> Any:
    """Read a JSON file; raises InputError that names the file when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error


def append_line(path: Path, line: str) -> None:
    """Append one whole line and sync it; a torn last line is first ended with a newline.

    What a full disk lets through of a line is taken back.
    """
    make_folder(path.parent)
    try:
        with path.open("ab+", buffering=0) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            size = stream.seek(0, os.SEEK_END)
            start = b""
            if size > 0:
                stream.seek(-1, os.SEEK_END)
                start = b"" if stream.read(1) == b"\n" else b"\n"
            rest = memoryview(start + line.encode() + b"\n")
            try:
                while rest:
                    rest = rest[stream.write(rest) :]
                os.fsync(stream.fileno())
            except BaseException:
                stream.truncate(size)
                raise
        if size == 0:
            _sync_folder(path.parent)
    except OSError as error:
        raise explain_os_error(error, path) from error


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder that takes the name `path` when the block ends well, and is removed otherwise.

    An existing `path` is replaced. Files are synced before the rename.
    """
    make_folder(path.parent)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
    except OSError as error:
        raise explain_os_error(error, path) from error
    replaced: Path | None = None
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                file.chmod(0o644)
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        temporary.chmod(0o755)
        if path.exists():
            replaced = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent)) / "old"
            path.rename(replaced)
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced is not None:
            if not path.exists() and replaced.exists():
                replaced.rename(path)
            shutil.rmtree(replaced.parent, ignore_errors=True)


@contextlib.contextmanager
def folder_lock(folder: Path, purpose: str) -> Iterator[None]:
    """Hold a folder for one process; raises EnvironmentFailure when another holds it.

    The kernel drops the lock when the process ends, however it ends.
    """
    make_folder(folder)
    path = folder / ".lock"
    try:
        stream = path.open("a+")
    except OSError as error:
        raise explain_os_error(error, path) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFailure(
                f"another edgevqa process is using {folder} ({purpose}); wait for it or choose another folder"
            ) from None
        except OSError as error:
            raise explain_os_error(error, path) from error
        yield


@contextlib.contextmanager
def waiting_lock(folder: Path) -> Iterator[None]:
    """Hold a folder for one thread of one process; others wait until it is done."""
    path = make_folder(folder) / ".lock"
    with contextlib.ExitStack() as stack:
        try:
            fcntl.flock(stack.enter_context(path.open("a+")), fcntl.LOCK_EX)
        except OSError as error:
            raise explain_os_error(error, path) from error
        yield


def remove_leftovers(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove what a killed run left under temporary names directly in `folder`.

    Hold its lock first, or give an age in seconds that nothing which is being written has.
    """
    for leftover in folder.glob(TEMPORARY_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if older_than_s and time.time() - leftover.stat().st_mtime < older_than_s:
                continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sha256_bytes(content: bytes) -> str:
    """The sha256 of some bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """The sha256 of a file in hexadecimal, read in pieces; raises InputError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """The path of `name` within `folder`; raises IntegrityError when it would leave it."""
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, or links in a circle
        raise IntegrityError(f"{name!r} names no file in {folder}: {error}") from None
    if not path.is_relative_to(folder.resolve()):
        raise IntegrityError(f"{name!r} points outside {folder}")
    return path


def cache_folder() -> Path:
    """Where derived data is kept: EDGEVQA_CACHE, else `edgevqa` in the XDG cache folder."""
    own = os.environ.get("EDGEVQA_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgevqa"


def config_folder() -> Path:
    """Where a user's own targets are kept: EDGEVQA_CONFIG, else `edgevqa` in the XDG config folder."""
    own = os.environ.get("EDGEVQA_CONFIG")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgevqa"
