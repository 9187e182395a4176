"""A fleet of a phone and this machine: the phone is unplugged in the middle of its work, and comes back."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.cli.test_phone_chain import CACHE, profile
from tests.lab.devices import Phone, command_lines, wait_for

LOCAL = 'name = "here"\ndescription = "x"\nkind = "local"\nruntimes = ["onnxruntime"]\nhost_checks = []\n'


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_phone_that_is_unplugged_is_taken_up_again(
    phone: Phone, exported: Path, light_program: Program, tmp_path: Path
) -> None:
    work = Path(shutil.copytree(exported, tmp_path / "work"))
    _target, path = profile(phone, work)
    (work / "here.toml").write_text(LOCAL)
    there = {"EDGEVQA_CACHE": str(CACHE), "ANDROID_ADB_SERVER_PORT": str(phone.adb_port)}
    brought = light_program("device", "setup", "--target", str(path), cwd=work, **there)
    if "pip cannot download" in brought.stderr:
        pytest.skip(brought.stderr)
    assert brought.returncode == 0, brought.stderr

    fleet = ("bench", "--target", path, "--target", "here.toml", "--threads", "1,2", "--protocol", "quick")
    measuring = light_program.start(*fleet, "--wait", "100", "--json", cwd=work, **there)

    def busy() -> bool:
        assert measuring.poll() is None, measuring.communicate()
        lines = command_lines().values()
        return any("job.json" in line and "libonnxruntime" in line for line in lines)

    try:
        wait_for(busy)
        phone.stop()
        wait_for(lambda: not busy())
        phone.start(sys.executable)
        out, err = measuring.communicate(timeout=300)
    finally:
        measuring.kill()
    assert measuring.returncode == 0, out + err
    report = json.loads(out)
    assert sorted((row["target"], row["threads"], row["n"] >= 64) for row in report["records"]) == [
        ("here", 1, True),
        ("here", 2, True),
        ("simulated-phone", 1, True),
        ("simulated-phone", 2, True),
    ]
    assert report["failed"] == {}
    assert len((work / "results" / "records.jsonl").read_text().splitlines()) == 4
