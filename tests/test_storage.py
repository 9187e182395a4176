"""Files are whole or absent, folders change hands at once, and one process at a time holds a folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.errors import EnvironmentFailure, InputError, IntegrityError
from edgevqa.storage import (
    TEMPORARY_PREFIX,
    append_line,
    explain_os_error,
    folder_lock,
    inside,
    make_folder,
    new_folder,
    read_json,
    remove_leftovers,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_json,
)

ROOT = Path(__file__).parents[1]


def python(script: str, *arguments: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, which may write no file of more than `limit` bytes."""
    if limit is not None:
        script = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n{script}"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def test_a_file_is_replaced_whole_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert leftovers(tmp_path) == []


def test_who_reads_a_file_while_it_is_replaced_reads_the_old_one_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    with path.open("rb") as reader:
        write_bytes(path, b"newer")
        assert reader.read() == b"old"


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    script = (
        "import sys\nfrom pathlib import Path\nfrom edgevqa.errors import EnvironmentFailure\n"
        "from edgevqa.storage import write_bytes\n"
        "try: write_bytes(Path(sys.argv[1]), bytes(100_000))\n"
        "except EnvironmentFailure as error: print(error)\n"
    )
    done = python(script, path, limit=4096)
    assert done.stdout == (
        f"cannot write {path}: the system allows no files of that size there; "
        "raise `ulimit -f` or choose another folder\n"
    )
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_a_write_that_is_killed_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom edgevqa import storage\n"
        "def die(descriptor): os.kill(os.getpid(), 9)\n"
        "storage.os.fsync = die\n"
        "storage.write_bytes(Path(sys.argv[1]), bytes(100_000))\n"
    )
    assert python(script, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(leftovers(tmp_path)) == 1
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFailure, match=r"cannot make the folder .*/file: a file of that name is in the way"):
        make_folder(tmp_path / "file")
    with pytest.raises(EnvironmentFailure, match="a part of the path is a file"):
        write_bytes(tmp_path / "file" / "below" / "x", b"")
    with pytest.raises(EnvironmentFailure, match="cannot write"):
        write_bytes(tmp_path, b"a folder is there")


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "no permission"), (errno.EIO, "I")],
)
def test_refusals_are_explained(number: int, said: str) -> None:
    error = explain_os_error(OSError(number, os.strerror(number)), Path("/x/y"))
    assert str(error).startswith("cannot write /x/y: ") and said in str(error)
    assert error.exit_code == 3


def test_json_is_read_back_and_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": [1, None], "a": "é"})
    write_json(tmp_path / "b", {"a": "é", "b": [1, None]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_json(tmp_path / "a") == {"a": "é", "b": [1, None]}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 100_000, b"1" * 5000, b'{"a": 1}}'])
def test_broken_json_is_one_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.json is not readable JSON"):
        read_json(path)


def test_missing_json_and_folders_in_place_of_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="is not readable JSON"):
        read_json(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        sha256_file(tmp_path)


def test_lines_are_appended_and_a_torn_one_is_closed_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.jsonl"
    append_line(path, '{"n": 1}')
    with path.open("ab") as stream:
        stream.write(b'{"n": 2, "cut sho')
    append_line(path, '{"n": 3}')
    append_line(path, "ümlaut")
    assert path.read_text().splitlines() == ['{"n": 1}', '{"n": 2, "cut sho', '{"n": 3}', "ümlaut"]


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "first")
    script = (
        "import sys\nfrom pathlib import Path\nfrom edgevqa.errors import EnvironmentFailure\n"
        "from edgevqa.storage import append_line\n"
        "try: append_line(Path(sys.argv[1]), 'x' * 9000)\n"
        "except EnvironmentFailure as error: print(error)\n"
    )
    done = python(script, path, limit=4096)
    assert done.stdout.startswith(f"cannot write {path}: "), done.stderr
    assert path.read_text() == "first\n"


def test_lines_of_two_processes_do_not_mix(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom edgevqa.storage import append_line\n"
        "for number in range(100): append_line(Path(sys.argv[1]), sys.argv[2] * 500)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lines")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen([*command, letter], env=environment) for letter in "ab"]
    assert [process.wait(60) for process in running] == [0, 0]
    lines = (tmp_path / "lines").read_text().splitlines()
    assert sorted(lines) == ["a" * 500] * 100 + ["b" * 500] * 100


def test_a_new_folder_takes_its_name_at_the_end(tmp_path: Path) -> None:
    with new_folder(tmp_path / "made") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made" / "deep" / "file").read_text() == "x"
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_folder_is_replaced_only_when_all_went_well(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "made"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(EnvironmentFailure if isinstance(error, OSError) else type(error)), new_folder(path) as folder:
        (folder / "new").write_text("half")
        raise error
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]
    with new_folder(path) as folder:
        (folder / "new").write_text("whole")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "made"
    path.mkdir()
    (path / "old").write_text("old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == path and (self / "new").exists():
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(EnvironmentFailure), new_folder(path) as folder:
        (folder / "new").write_text("new")
    assert (path / "old").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_held_by_one_process_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom edgevqa.storage import folder_lock\n"
        "with folder_lock(Path(sys.argv[1]), 'a test'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentFailure, match=r"another edgevqa process is using .*second"):  # noqa: SIM117
            with folder_lock(tmp_path, "second"):
                pytest.fail("both hold it")
    finally:
        holder.kill()
        holder.wait()
    with folder_lock(tmp_path, "second"):
        pass
    with folder_lock(tmp_path, "third"), pytest.raises(EnvironmentFailure), folder_lock(tmp_path, "fourth"):
        pytest.fail("both hold it")


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY_PREFIX}folder").mkdir()
    (tmp_path / f"{TEMPORARY_PREFIX}folder" / "file").write_text("x")
    (tmp_path / f"{TEMPORARY_PREFIX}file").write_text("x")
    (tmp_path / "kept").write_text("x")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "link/x", "a\0b", "circle/x"])
def test_names_that_lead_out_of_a_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(IntegrityError):
        inside(folder, name)


def test_names_inside_a_folder_are_allowed(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/../b") == (tmp_path / "b").resolve()
    assert inside(tmp_path, "reference/questions.npz") == (tmp_path / "reference/questions.npz").resolve()


@given(st.text(max_size=30))
def test_any_name_stays_inside_or_is_refused(name: str) -> None:
    with contextlib.suppress(IntegrityError):
        assert inside(Path("/tmp/some folder"), name).is_relative_to("/tmp/some folder")


def test_hashes_of_files_and_bytes_agree(tmp_path: Path) -> None:
    content = json.dumps(list(range(300_000))).encode()
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == sha256_bytes(content)
