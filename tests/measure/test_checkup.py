"""Check-ups of real boards: what they are, and what is unusual about them."""

from __future__ import annotations

import datetime
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgevqa.cli.main import main
from edgevqa.devices import Completed, Target, open_transport
from edgevqa.measure.checkup import check_up, compare_clocks, describe_instructions
from tests.lab.devices import Board, wait_for


@pytest.fixture
def profile(board: Board, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Writes a profile of a board; keys are given as TOML."""
    target = board.target(tmp_path)

    def write(**more: str) -> Path:
        values = {"name": '"board"', "description": '"x"', "kind": '"ssh"', "host": '"127.0.0.1"'}
        values |= {"ssh_config": '"ssh_config"', "folder": f'"{target.folder}"', "runtimes": '["onnxruntime"]', **more}
        path = tmp_path / "board.toml"
        path.write_text("\n".join(f"{key} = {value}" for key, value in values.items()))
        return path

    yield write
    shutil.rmtree(board.path(target), ignore_errors=True)


@pytest.fixture
def set_clock(board: Board) -> Iterator[Callable[[str], None]]:
    """Makes every program that is started on a board from now on see another time, as libfaketime understands it."""
    login = board.home / ".bashrc"
    before = login.read_text()
    (library,) = (board.folder / "root" / "usr" / "lib").glob("*/faketime/libfaketime.so.1")
    there = "/" + str(library.relative_to(board.folder / "root"))

    def set_it(offset: str) -> None:
        # files keep the time at which they were written, as when a clock is set
        settings = f"FAKETIME={offset} DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 LD_PRELOAD={there}"
        login.write_text(f"{before}export {settings}\n")

    yield set_it
    login.write_text(before)


def test_words_for_what_speeds_up_int8() -> None:
    pi = {"machine": "aarch64", "features": ["asimd", "asimddp", "asimdhp"]}
    assert describe_instructions(pi) == "dotprod (asimddp), fp16 (asimdhp); not i8mm, bf16, SVE"
    phone = {"machine": "aarch64", "features": ["asimddp", "asimdhp", "bf16", "i8mm", "sve"]}
    assert describe_instructions(phone) == "dotprod (asimddp), i8mm, fp16 (asimdhp), bf16, SVE (sve)"
    laptop = {"machine": "x86_64", "features": ["avx2", "avx_vnni", "fma"]}
    assert describe_instructions(laptop) == "AVX2 (avx2), FMA (fma), VNNI (avx_vnni); not AVX-512"
    assert describe_instructions({"machine": "riscv64", "features": []}) == "unknown"


def test_what_lacks_is_named_in_common_words(profile: Callable[..., Path]) -> None:
    report = check_up(profile(folder='"/mnt/small/y"', features='["asimddp", "avx2"]', core_mask='"big"'))
    assert "the feature dotprod (asimddp), which the profile expects" in report.missing
    assert not any("avx2" in text for text in report.missing)
    assert any("edgevqa device setup --target" in text for text in report.missing)
    assert any("board" in text and "cores" in text for text in report.missing), "big cores cannot be told"
    assert report.facts["sensors"] == "temperature cpu-thermal" and not report.ready
    (disk,) = [one for one in report.findings if one.check == "disk"]
    assert disk.text.startswith("only 0 MB are free in /mnt/small/y") and "`folder`" in disk.fix
    assert not [one for one in report.findings if one.check == "time"]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (1000.0, ""),
        (959.0, ""),
        (1061.5, ""),
        (1002.0 + 90 * 60, "90 minutes ahead"),
        (1000.0 - 400 * 86_400, "400 days behind"),
        (None, ""),
    ],
)
def test_a_clock_is_compared_with_the_time_of_the_answer(there: float | None, words: str) -> None:
    target = Target("x", "x", "ssh", ("onnxruntime",))
    found = [finding.text for finding in compare_clocks(target, {"wall_clock_s": there}, 1000.0, 1002.0)]
    assert found == ([f"its clock is {words}; rows carry the time of this machine"] if words else [])


def test_a_clock_far_off_is_a_finding_and_breaks_nothing(
    profile: Callable[..., Path], set_clock: Callable[[str], None]
) -> None:
    set_clock("+400d")
    (finding,) = [one for one in check_up(profile()).findings if one.check == "time"]
    assert finding.text.startswith("its clock is 400 days ahead")


def test_a_clock_that_is_set_during_a_run_does_not_end_it(
    board: Board, set_clock: Callable[[str], None], tmp_path: Path
) -> None:
    target = board.target(tmp_path)
    found: list[Completed] = []
    script = "while [ ! -e ../../go ]; do sleep 0.1; done; echo done > out"

    def run(target: Target) -> None:
        found.append(open_transport(target).run(["sh", "-c", script], {}, ["out"], 100))

    long = threading.Thread(target=run, args=(target,))
    long.start()
    work = board.path(target) / "work"
    wait_for(lambda: any(work.glob("*.pid")))
    left = work / "left-by-a-killed-run"
    left.mkdir()
    set_clock("+400d")
    says = open_transport(target).run(["date", "+%Y"], {}, [], 60).stdout
    assert int(says) > datetime.datetime.now(datetime.UTC).year, "this run should see another time"
    assert not left.exists()
    (board.path(target) / "go").touch()
    long.join(100)
    assert found[0].files["out"].read_text() == "done\n"
    shutil.rmtree(board.path(target))


def test_several_targets_make_one_report_after_another(tmp_path: Path) -> None:
    here, nowhere = tmp_path / "here.toml", tmp_path / "nowhere.toml"
    here.write_text('name = "here"\ndescription = "x"\nkind = "local"\nruntimes = ["onnxruntime"]\n')
    nowhere.write_text(here.read_text().replace('"local"', '"ssh"').replace('"here"', '"nowhere"'))
    result = CliRunner().invoke(main, ["doctor", "--target", str(nowhere), "--target", str(here)])
    assert result.exit_code == 3 and "target nowhere is reached over ssh, and no host is configured" in result.stderr
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("target ")] == ["here"]
    found = json.loads(CliRunner().invoke(main, ["doctor", *["--target", str(nowhere)] * 2, "--json"]).stdout)
    assert [one["target"] for one in found] == [str(nowhere)] * 2 and "no host" in found[1]["error"]
