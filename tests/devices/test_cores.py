"""Big and little cores: told apart by what the kernel says, turned into a mask, and really run on."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgevqa.devices import Target, open_transport
from edgevqa.devices.cores import clusters, describe_clusters, resolve_mask
from edgevqa.devices.jobs import probe
from edgevqa.devices.targets import parse_target
from edgevqa.errors import DeviceError, UsageError
from tests.lab.devices import Board

TARGET = Target("pi", "x", "ssh", ("litert",), host="pi")


def found(mask: str, clocks: list[float | None], capacities: list[float | None] | None = None) -> dict[str, Any]:
    return {"core_mask": mask, "core_maximum_mhz": clocks, "core_capacity": capacities or [None] * len(clocks)}


def masks(probed: dict[str, Any]) -> list[str | None]:
    return [resolve_mask(dataclasses.replace(TARGET, core_mask=word), probed).core_mask for word in ("big", "little")]


def test_clusters_by_clock_and_by_capacity() -> None:
    phone = found("0xff", [1804.0] * 4 + [2419.0] * 3 + [2842.0])
    assert clusters(phone) == [[7], [4, 5, 6], [0, 1, 2, 3]]
    assert describe_clusters(phone) == "1 x 2842 MHz (0x80), 3 x 2419 MHz (0x70), 4 x 1804 MHz (0xf)"
    assert masks(phone) == ["0xf0", "0xf"]
    without_clocks = found("0x3f", [None] * 6, [1024.0, 446.0, 446.0, 446.0, 446.0, 1024.0])
    assert masks(without_clocks) == ["0x21", "0x1e"]
    assert describe_clusters(without_clocks) == "2 cores (0x21), 4 cores (0x1e)"
    some = found("0xf0", [1800.0, 1800.0, 2400.0, 2400.0])
    assert masks(some) == ["0xc0", "0x30"], "the numbers are those of the cores that may be used"
    turbo = found("0xf", [5000.0, 5100.0, 5100.0, 4900.0])
    assert clusters(turbo) == [[1, 2, 0, 3]], "favoured cores are no cluster"


def test_what_cannot_be_told_is_refused() -> None:
    big = dataclasses.replace(TARGET, core_mask="big")
    with pytest.raises(DeviceError, match=r"neither the clocks nor the capacities.*0xf0"):
        resolve_mask(big, found("0x3", [2400.0, None]))
    with pytest.raises(DeviceError, match=r"has 4 equal cores.*leave it out"):
        resolve_mask(big, found("0xf", [2400.0] * 4))
    for target in (TARGET, dataclasses.replace(TARGET, core_mask="0x3")):
        assert resolve_mask(target, found("0xf", [None] * 4)) == target


def test_profiles_take_words_and_masks() -> None:
    profile = 'name = "x"\ndescription = "x"\nkind = "local"\nruntimes = ["litert"]\ncore_mask = '
    for mask in ("big", "little", "0xF0"):
        assert parse_target(profile + f'"{mask}"', "x").core_mask == mask
    for mask in ("large", "f0", "0x0", "0x" + "f" * 1000):
        with pytest.raises(UsageError, match='core_mask should be a hexadecimal mask such as "0xf0", big or little'):
            parse_target(profile + f'"{mask}"', "x")


@pytest.fixture
def uneven_board(board: Board) -> Iterator[Board]:
    """A board whose kernel says that its core 0 is slower than the others."""
    folder = board.folder / "root" / "sys" / "devices" / "system" / "cpu"
    made = []
    for core in range(64):
        path = folder / f"cpu{core}" / "cpufreq"
        path.mkdir(parents=True)
        (path / "cpuinfo_max_freq").write_text("2400000\n" if core else "1800000\n")
        made.append(path.parent)
    yield board
    for path in made:
        shutil.rmtree(path)


def test_a_board_runs_on_its_big_cores(uneven_board: Board, tmp_path: Path) -> None:
    target = uneven_board.target(tmp_path, core_mask="big")
    transport = open_transport(target)
    everything = probe(target, None, transport)
    if everything["core_mask"] == "0x1":
        pytest.skip("this machine has one core only")
    resolved = resolve_mask(target, everything)
    assert int(str(resolved.core_mask), 16) == int(everything["core_mask"], 16) & ~1
    assert probe(resolved, None, transport)["core_mask"] == resolved.core_mask
    elsewhere = dataclasses.replace(resolved, core_mask=hex(1 << 200))
    with pytest.raises(DeviceError, match="cannot run on the cores of mask"):
        probe(elsewhere, None, transport)
    shutil.rmtree(uneven_board.path(target))
