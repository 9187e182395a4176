"""Target profiles: the shipped ones, a user's own, and mistakes in them."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.devices import Target, find_profiles, load_target, open_transport, parse_target, profile_folder
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.targets import write_profile
from edgevqa.errors import DeviceError, InputError, UsageError
from edgevqa.measure.protocols import get_protocol
from edgevqa.pipeline import this_machine

OWN = """
name = "board"
description = "mine"
kind = "local"
runtimes = ["onnxruntime"]
threads = 4
core_mask = "0xf0"
host_checks = ["load"]
[limits]
p90_ms = 60
memory_mb = 200.5
[tolerances]
fp16 = 0.02
"""


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEVQA_CONFIG", str(tmp_path / "settings"))
    folder = tmp_path / "settings" / "targets"
    folder.mkdir(parents=True)
    return folder


def test_every_shipped_profile_is_whole() -> None:
    names = {path.stem for path in profile_folder().glob("*.toml")}
    assert {"x86", "arm64", "raspberry-pi-4", "raspberry-pi-5", "jetson", "arm64-emulated", "android-cpu"} <= names
    for name in names:
        target = load_target(name)
        assert target.name == name
        assert target.description
        get_protocol(target.protocol)


def test_this_machine_keeps_its_profile_when_a_board_has_taken_the_name() -> None:
    name = this_machine().name
    write_profile(name, name, host="pi@192.168.1.20")
    assert load_target(name).kind == "ssh"
    assert this_machine().kind == "local"


def test_own_profile_is_read_in_full() -> None:
    target = parse_target(OWN, "own")
    assert (target.threads, target.core_mask, target.host_checks) == (4, "0xf0", ("load",))
    assert (target.limits.p90_ms, target.limits.memory_mb, target.limits.energy_j) == (60.0, 200.5, None)
    assert target.tolerances == {"fp16": 0.02}
    assert target.basis == "measured"


def test_own_profile_by_path_and_by_name(tmp_path: Path, settings: Path) -> None:
    (tmp_path / "elsewhere.toml").write_text(OWN)
    assert load_target(tmp_path / "elsewhere.toml").name == "board"
    (settings / "board.toml").write_text(OWN)
    assert load_target("board").source == settings / "board.toml"
    assert {"board", "x86"} <= set(find_profiles())


def test_own_profile_replaces_a_shipped_one(settings: Path) -> None:
    (settings / "arm64.toml").write_text(OWN.replace("board", "arm64"))
    assert load_target("arm64").description == "mine"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("thread = 2", "unknown key 'thread'; did you mean threads?"),
        ("zzz = 2", "unknown key 'zzz'; known are"),
        ("source = 'x'", "unknown key 'source'"),
        ("threads = '2'", "threads should be of type int"),
        ("threads = true", "threads should be of type int"),
        ("threads = 0", "at least 1"),
        ("host = 5", "host should be of type str"),
        ("runtimes = 'onnxruntime'", "list of names"),
        ("runtimes = []", "at least one runtime"),
        ("runtimes = ['onnxruntme']", "did you mean onnxruntime"),
        ("kind = 'lokal'", "kind 'lokal' is not one of local"),
        ("basis = 'guessed'", "measured, emulated"),
        ("basis = 'predicted'", "measured, emulated"),
        ("host_checks = ['luck']", "'luck'"),
        ("core_mask = '240'", "0xf0"),
        ("core_mask = '0x0'", "0xf0"),
        ("name = '../up'", "letters"),
        ("limits = 5", r"\[limits\]"),
        ("limits = {p90 = 5}", r"\[limits\]: unknown key 'p90'; did you mean p90_ms"),
        ("limits = {p90_ms = 'x'}", "p90_ms should be of type float"),
        ("tolerances = {fp16 = -1}", "positive"),
        ("tolerances = {fp32 = inf}", "positive number below 1"),
        ("tolerances = {fp32 = nan}", "positive number below 1"),
        ("threads = " + "9" * 5000, "is not TOML"),
        ("limits = " + "[" * 5000, "is not TOML"),
        ("name = ", "is not TOML"),
    ],
)
def test_mistakes_are_named_with_the_file(line: str, words: str) -> None:
    values = {"name": "'a'", "description": "''", "kind": "'local'", "runtimes": "['onnxruntime']"}
    values.pop(line.split(" =")[0], None)
    text = "\n".join([line, *(f"{key} = {value}" for key, value in values.items())])
    with pytest.raises(UsageError, match=f"^own.toml.*{words}"):
        parse_target(text, "own.toml")


def test_missing_key_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'kind' is missing"):
        parse_target("name = 'a'\ndescription = ''\nruntimes = ['litert']", "own")
    with pytest.raises(UsageError, match="did you mean x86"):
        load_target("x68")
    with pytest.raises(InputError, match="does not exist"):
        load_target(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        load_target(tmp_path / "binary.toml")


@given(st.text())
def test_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        assert isinstance(parse_target(text, "fuzz"), Target)
    except UsageError as error:
        assert str(error).startswith("fuzz")


def test_a_target_that_is_another_machine_says_what_to_do_in_two_lines(settings: Path) -> None:
    here = parse_target(OWN, "own")
    assert isinstance(open_transport(here), LocalTransport)
    same = dataclasses.replace(here, machine=platform.machine())
    assert isinstance(open_transport(same), LocalTransport)
    with pytest.raises(DeviceError) as caught:
        open_transport(dataclasses.replace(here, machine="pdp11"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "no host is configured" in lines[0]
    assert "edgevqa targets new board --from board --host" in lines[1]
    with pytest.raises(DeviceError) as caught:
        open_transport(load_target("raspberry-pi-5"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_profile_of_ones_own_is_a_copy_with_an_address(settings: Path) -> None:
    path = write_profile("kitchen", "raspberry-pi-5", host='pi@"odd"')
    made, origin = load_target("kitchen"), load_target("raspberry-pi-5")
    assert made == dataclasses.replace(origin, name="kitchen", host='pi@"odd"', source=settings / "kitchen.toml")
    with pytest.raises(UsageError, match="--force"):
        write_profile("kitchen", "x86")
    assert write_profile("kitchen", "arm64", host="pi", replace=True) == path
    assert (load_target("kitchen").kind, load_target("kitchen").machine) == ("ssh", "aarch64")
    (settings / "own.toml").write_text(OWN.replace('"board"', '"own"'))
    write_profile("other", "own")
    assert load_target("other").limits == load_target("own").limits
    with pytest.raises(UsageError, match="letters"):
        write_profile("../up", "x86")
    assert {path.name for path in settings.iterdir()} == {"kitchen.toml", "own.toml", "other.toml"}


@pytest.mark.usefixtures("settings")
def test_a_phone_has_a_serial_number() -> None:
    write_profile("pixel", "android-cpu", serial="10.0.0.2:5555")
    assert (load_target("pixel").serial, load_target("pixel").kind) == ("10.0.0.2:5555", "adb")
    with pytest.raises(UsageError, match="name the device by --host"):
        write_profile("board", "raspberry-pi-5", serial="8A1X0MQ3T")
    with pytest.raises(UsageError, match="name the device by --serial"):
        write_profile("phone", "android-cpu", host="pi@10.0.0.2")
