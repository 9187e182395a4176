"""Target profiles: which device, how it is reached, what runs there, and what counts as good enough.

A profile is a TOML file. The shipped ones are in `targets/` of a checkout, installed in `edgevqa/targets/`.
A user's own is given by path, or put into `targets/` in the folder of settings.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import platform
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevqa.errors import DeviceError, EnvironmentFailure, InputError, UsageError
from edgevqa.runtimes import get_delegates, get_runtime
from edgevqa.storage import config_folder, write_text

BASES = ("measured", "emulated")  # what runs is never predicted
CORE_WORDS = ("big", "little")  # what `core_mask` may be besides a mask, see `devices.cores`
HOST_CHECKS = ("governor", "clock", "turbo", "load", "temperature", "throttling")

# one entry for each kind of target: the class with its transport, imported when it is used
TRANSPORTS: Mapping[str, str] = {
    "local": "edgevqa.devices.local:LocalTransport",
    "ssh": "edgevqa.devices.ssh:SSHTransport",
    "adb": "edgevqa.devices.adb:ADBTransport",
    "emulated": "edgevqa.devices.emulated:EmulatedTransport",
}
KINDS = tuple(TRANSPORTS)


@dataclass(frozen=True)
class Limits:
    """What a submodel may cost on a target; None is no limit."""

    p90_ms: float | None = None
    energy_j: float | None = None
    memory_mb: float | None = None
    file_mb: float | None = None


@dataclass(frozen=True)
class Target:
    """A device profile.

    Attributes:
        name: of letters, digits, `.`, `_` and `-`; results carry it.
        description: one line for people.
        kind: the transport, one of `KINDS`.
        runtimes: the runtimes to measure, see `edgevqa.runtimes.RUNTIMES`.
        machine: the architecture that the device has (`x86_64`, `aarch64`); checked before anything runs.
        host: the address of a device that is reached over ssh: a name of ~/.ssh/config, `user@address`, or
            `ssh://user@address:port`.
        serial: the serial number of a device that is reached over adb.
        ssh_config: a file of ssh settings to use instead of ~/.ssh/config, relative to the profile.
        folder: the one folder on a remote device where everything goes; relative to the home there.
        root: the folder with another architecture's root file system, for an emulated target.
        cpu: the processor that qemu emulates.
        python: the Python interpreter on the device; by default each runtime's own on this machine.
        delegate: what the runtimes compute with: `cpu`, `gpu` in LiteRT, or one of ONNX Runtime's execution providers
            (`xnnpack`, `nnapi`, `webgpu`, `cuda`, ...), see `runner.PROVIDERS`.
        allow_fallback: whether something else may run what the delegate does not take; rows then say so.
        enforce_fp32: whether a GPU is kept from computing in fp16.
        benchmark_model: the official tool of that name for this device, relative to the profile; it times instead of
            the runner, see `devices/benchmark_model.py`.
        threads: how many threads, unless the command says otherwise.
        core_mask: the cores to run on: a mask such as `0xf0`, `big` or `little`; None leaves it to the system.
        energy_sensor: the name of the sensor that measures energy; None has none.
        host_checks: which of `HOST_CHECKS` make sense on the device.
        protocol: the protocol to use unless the command says otherwise.
        limits: what a submodel may cost.
        tolerances: largest logit difference over the logit range by precision, if not a CPU's.
        features: instruction-set features that the device should have, as Linux names them.
        basis: what its figures are: `measured` or `emulated`.
        source: the file it was read from.
    """

    name: str
    description: str
    kind: str
    runtimes: tuple[str, ...]
    machine: str | None = None
    host: str | None = None
    serial: str | None = None
    ssh_config: str | None = None
    folder: str | None = None
    root: str | None = None
    cpu: str | None = None
    python: str | None = None
    delegate: str = "cpu"
    allow_fallback: bool = False
    enforce_fp32: bool = False
    benchmark_model: str | None = None
    threads: int = 1
    core_mask: str | None = None
    energy_sensor: str | None = None
    host_checks: tuple[str, ...] = HOST_CHECKS
    protocol: str = "quick"
    limits: Limits = Limits()
    tolerances: Mapping[str, float] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    basis: str = "measured"
    source: Path | None = None

    def on(self, delegate: str | None = None, allow_fallback: bool = False) -> Target:
        """The same device with another delegate.

        Raises:
            UsageError: no runtime of the profile knows the delegate; the nearest that they know is named.
        """
        if delegate is None and not allow_fallback:
            return self
        delegate = delegate or self.delegate
        check_delegate(delegate, self.runtimes, self.name)
        return dataclasses.replace(self, delegate=delegate, allow_fallback=allow_fallback or self.allow_fallback)

    def check_this_machine(self) -> None:
        """Raise DeviceError, in two lines, when the device is neither this machine nor one with an address."""
        here = platform.machine()
        if self.kind == "local" and self.machine not in (None, here):
            raise DeviceError(
                f"target {self.name} is {self.machine}, this machine is {here}, and no host is configured.\n"
                f"Run the command on such a machine, or reach one over ssh: "
                f"edgevqa targets new {self.name} --from {self.name} --host USER@ADDRESS"
            )
        if self.kind == "ssh" and self.host is None:
            there = " On the device itself, take --target arm64." if self.machine == "aarch64" else ""
            raise DeviceError(
                f"target {self.name} is reached over ssh, and no host is configured.\n"
                f"Name it once: edgevqa targets new {self.name} --from {self.name} --host USER@ADDRESS.{there}"
            )

    @property
    def argument(self) -> str:
        """What `--target` takes for this profile: its name, or its file where the name is not known."""
        if self.source is None or find_profiles().get(self.name) == self.source:
            return self.name
        return str(self.source)

    def beside(self, name: str) -> Path:
        """A path in the profile, which is relative to the profile's own folder."""
        path = Path(name).expanduser()
        return path if self.source is None else self.source.parent / path


def check_delegate(delegate: str, runtimes: Sequence[str], where: str) -> None:
    """Raise UsageError unless one of the runtimes knows a delegate."""
    known = list(dict.fromkeys(name for runtime in runtimes for name in get_delegates(runtime)))
    if delegate not in known:
        near = difflib.get_close_matches(delegate, known, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        there = ", ".join(runtimes)
        raise UsageError(f"{where}: unknown delegate {delegate!r} (known in {there}: {', '.join(known)}){hint}")


_PLAIN = {"str": str, "str | None": str, "int": int, "bool": bool, "float | None": float}


def _unknown(key: str, known: list[str], where: str) -> UsageError:
    near = difflib.get_close_matches(key, known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
    return UsageError(f"{where}: unknown key {key!r}; {hint}")


def _convert(key: str, value: Any, wanted: str, where: str) -> Any:
    """A TOML value as the type that a field wants, given as it is written there."""
    if wanted == "tuple[str, ...]":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{where}: {key} should be a list of names, not {value!r}")
        return tuple(value)
    plain = _PLAIN.get(wanted)
    if plain is float and type(value) is int:
        return float(value)
    if plain is not None and type(value) is not plain:
        raise UsageError(f"{where}: {key} should be of type {plain.__name__}, not {value!r}")
    return value


def _values(kind: type, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the keys and the types of a table against a dataclass."""
    fields = {item.name: str(item.type) for item in dataclasses.fields(kind) if item.name != "source"}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            raise _unknown(key, list(fields), where)
        values[key] = _convert(key, value, fields[key], where)
    for item in dataclasses.fields(kind):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and item.name not in values:
            raise UsageError(f"{where}: the key {item.name!r} is missing")
    return values


def _check_choice(value: str, choices: tuple[str, ...], key: str, where: str) -> None:
    if value not in choices:
        raise UsageError(f"{where}: {key} {value!r} is not one of {', '.join(choices)}")


def parse_target(text: str, where: str, source: Path | None = None) -> Target:
    """Read a profile; `where` names it in messages.

    Raises:
        UsageError: a key is unknown (the nearest known one is named) or missing, or a value makes no sense.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets in brackets, too
        raise UsageError(f"{where} is not TOML: {error}") from None
    values = _values(Target, table, where)
    for key in ("limits", "tolerances"):
        if not isinstance(values.get(key, {}), dict):
            raise UsageError(f"{where}: {key} should be a table [{key}]")
    values["limits"] = Limits(**_values(Limits, values.get("limits", {}), f"{where} [limits]"))
    for precision, tolerance in values.get("tolerances", {}).items():
        if type(tolerance) not in (int, float) or not 0 < tolerance < 1:
            raise UsageError(
                f"{where} [tolerances]: {precision} should be a positive number below 1, not {tolerance!r}"
            )
    target = Target(**values, source=source)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", target.name):
        raise UsageError(f"{where}: name {target.name!r} should hold only letters, digits, '.', '_' and '-'")
    _check_choice(target.kind, KINDS, "kind", where)
    _check_choice(target.basis, BASES, "basis", where)
    for check in target.host_checks:
        _check_choice(check, HOST_CHECKS, "host_checks", where)
    if not target.runtimes:
        raise UsageError(f"{where}: runtimes should name at least one runtime")
    for runtime in target.runtimes:
        try:
            get_runtime(runtime)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    check_delegate(target.delegate, target.runtimes, where)
    if target.threads < 1:
        raise UsageError(f"{where}: threads should be at least 1, not {target.threads}")
    if target.core_mask is not None:
        check_core_mask(target.core_mask, f"{where}: core_mask")
    return target


def check_core_mask(mask: str, where: str) -> None:
    """Raise UsageError unless this names cores; `where` is what the message begins with."""
    if mask not in CORE_WORDS and not re.fullmatch(r"0x0*[1-9a-fA-F][0-9a-fA-F]{0,255}", mask):
        words = " or ".join(CORE_WORDS)
        raise UsageError(f'{where} should be a hexadecimal mask such as "0xf0", {words}, not {mask!r}')


def profile_folder() -> Path:
    """The folder of the shipped profiles: in an installed package or at the top of a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "targets", package.parent / "targets"):
        if any(folder.glob("*.toml")):
            return folder
    raise EnvironmentFailure(f"the target profiles are missing from {package}; install edgevqa again")


def find_profiles() -> dict[str, Path]:
    """Every known profile by name; a user's own replaces a shipped one of the same name."""
    folders = (profile_folder(), config_folder() / "targets")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def load_target(name_or_path: str | Path) -> Target:
    """A profile by name, or by the path of a TOML file.

    Raises:
        UsageError: there is no such profile (the nearest name is given), or it makes no sense.
        InputError: the file cannot be read.
    """
    text = str(name_or_path)
    if text.endswith(".toml") or "/" in text:
        path = Path(text)
    else:
        known = find_profiles()
        if text not in known:
            near = difflib.get_close_matches(text, known, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"unknown target {text!r}; {hint}Known: {', '.join(sorted(known))}; or give a .toml file")
        path = known[text]
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"the target profile {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the target profile {path}: {error}") from None
    return parse_target(content, str(path), path)


def write_profile(
    name: str, origin: str, *, host: str | None = None, serial: str | None = None, replace: bool = False
) -> Path:
    """Write a user's own profile as a copy of another one.

    Args:
        name: what it is called.
        origin: the profile to copy, by name or path.
        host: its address; a profile of this machine's kind becomes one that is reached over ssh.
        serial: the serial number of a phone, or `address:port` over Wi-Fi.
        replace: whether it may take the place of a user's own one.

    Returns:
        where it was written.

    Raises:
        UsageError: the name makes no sense, or is taken.
        InputError, EnvironmentFailure: a file cannot be read or written.
    """
    copied = load_target(origin)
    source = copied.source
    assert source is not None
    values = {"name": name}
    if (serial is not None and copied.kind != "adb") or (host is not None and copied.kind == "adb"):
        right = "--serial" if copied.kind == "adb" else "--host"
        raise UsageError(f"a profile from {origin} is one of kind {copied.kind}: name the device by {right}")
    if host is not None:
        values |= {"kind": "ssh", "host": host}
    if serial is not None:
        values |= {"serial": serial}
    top, table, rest = source.read_text(encoding="utf-8").partition("\n[")
    kept = [line for line in top.splitlines() if line.split("=")[0].strip() not in values]
    # a string of JSON is one of TOML, too
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    text = "\n".join([*lines, *kept]) + "\n" + (table + rest if table else "")
    path = config_folder() / "targets" / f"{name}.toml"
    parse_target(text, f"the profile {name!r}")
    if path.exists() and not replace:
        raise UsageError(f"{path} is there already; edit it, or replace it with --force")
    write_text(path, text)
    return path
