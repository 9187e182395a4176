"""Run a job of the runner on a device: send it, run it, read its result."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.devices import Completed, Transport, open_transport
from edgevqa.devices.answers import PROBE, check_answer
from edgevqa.devices.base import RUNTIMES_FOLDER, TEMPORARY_PREFIX
from edgevqa.devices.bundle import LOADERS, Bundle, build_bundle
from edgevqa.devices.emulated import emulated_root
from edgevqa.devices.phone import phone_probe
from edgevqa.devices.shell import last_line
from edgevqa.devices.targets import CORE_WORDS, Target
from edgevqa.errors import DeviceError, EdgeVQAError, InputError, MissingExtra
from edgevqa.runtimes import RUNNER, RUNTIMES, check_format, find_python, get_runtime, native_runner_sha256
from edgevqa.runtimes.runner import RESULT_MARK, GPULog
from edgevqa.storage import cache_folder, sha256_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JOB_NAME = "job.json"
START_TIMEOUT_S = 120.0
LOGITS_TIMEOUT_S = 1800.0
EMULATED_PATIENCE = 5  # times as long for everything on emulated devices


@dataclass(frozen=True)
class JobResult:
    """What the runner reported (`values`) and the files that came back, which live as long as this value."""

    values: Mapping[str, Any]
    completed: Completed

    def file(self, name: str) -> Path:
        """A fetched file; raises DeviceError when the runner did not write it."""
        if name not in self.completed.files:
            raise DeviceError(f"the runner reported success but did not write {name}")
        return self.completed.files[name]

    def array(self, name: str) -> NDArray[Any]:
        """A fetched .npy file; raises DeviceError when it is missing or broken."""
        import numpy as np

        try:
            # mapped first: a header may claim more than the file holds
            array: NDArray[Any] = np.array(np.load(self.file(name), mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DeviceError(f"{name} came back broken from the device: {error}") from error
        return array


def without_python(target: Target) -> bool:
    """Whether jobs on a target are run by the runner in C: phones, unless the profile names a Python there."""
    return target.kind == "adb" and target.python is None


def runner_sha256(target: Target) -> str:
    """The hash of the runner that a target's jobs are run by."""
    return native_runner_sha256() if without_python(target) else sha256_file(RUNNER)


def native_bundle(target: Target, transport: Transport) -> Bundle:
    """The bundle for a device without Python.

    Raises:
        DeviceError: the device cannot be reached, or is another one than its profile says.
        EnvironmentFailure: it cannot be built.
    """
    machine = _MACHINES.get(transport)
    if machine is None:
        machine = _MACHINES[transport] = str(phone_probe(transport, target.name)["machine"])
    check_machine(target, machine)
    if machine not in LOADERS:
        raise DeviceError(f"{target.name} is {machine}, and the runner is there for {', '.join(LOADERS)} only")
    return _built(machine, cache_folder())


@functools.cache
def _built(machine: str, _cache: Path) -> Bundle:
    return build_bundle(machine)  # once in a process: it is compared with its manifest, byte for byte


# what has been found out about a device, for as long as the way to it is open
_MACHINES: weakref.WeakKeyDictionary[Transport, str] = weakref.WeakKeyDictionary()


def check_machine(target: Target, machine: str) -> None:
    """Raise DeviceError when a device has another architecture than its profile says."""
    if target.machine not in (None, machine):
        raise DeviceError(f"target {target.name} should be {target.machine}, but the device is {machine}")


def runner_command(target: Target, runtime: str | None, transport: Transport) -> tuple[list[str], dict[str, Path]]:
    """The program that runs a job on a target, without the job's name, and the files it needs there.

    Raises:
        DeviceError, EnvironmentFailure: see `native_bundle`.
        MissingExtra: see `find_python`.
    """
    if without_python(target):
        bundle = native_bundle(target, transport)
        return bundle.command, bundle.files(runtime, target.delegate)
    if target.kind != "local":
        python = target.python or "python3"
    elif target.python:
        python = target.python
    else:
        python = str(find_python(runtime)) if runtime else sys.executable
    return [python, RUNNER.name], {RUNNER.name: RUNNER}


def stored_questions(path: Path, folder: Path) -> Path:
    """A `questions.npz` whose members are not compressed, which is all that the runner in C reads.

    A file that is so already, or cannot be read, is given back as it is: the runner says what is wrong with it.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            if all(entry.compress_type == zipfile.ZIP_STORED for entry in packed.infolist()):
                return path
            unpacked = folder / "stored.npz"
            with zipfile.ZipFile(unpacked, "w") as target:
                for entry in packed.infolist():
                    # with a fixed date: the same questions are the same bytes, and are not sent again
                    with packed.open(entry) as source, target.open(zipfile.ZipInfo(entry.filename), "w") as member:
                        shutil.copyfileobj(source, member)
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return path
    return unpacked


def packages_folder(target: Target, runtime: str | None) -> str | None:
    """Where `edgevqa device setup` puts the packages of a runtime, as a program on the target sees it."""
    if runtime is None:
        return None
    if target.kind == "ssh":
        return f"../../{RUNTIMES_FOLDER}/{runtime}"  # from the folder of a run
    if target.kind == "emulated":
        return str(emulated_root(target) / RUNTIMES_FOLDER / runtime)
    return None


def parse_result(stdout: str) -> Mapping[str, Any] | None:
    """The result at the end of a runner's output, whatever other programs wrote around it."""
    start = stdout.rfind(RESULT_MARK)
    if start < 0:
        return None
    try:
        value, _end = json.JSONDecoder().raw_decode(stdout, start + len(RESULT_MARK))
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and "ok" in value else None


def _explain(target: Target, completed: Completed) -> str:
    """Why a runner ended without a result, in one line."""
    code = completed.exit_code
    signal = -code if code < 0 else code - 128 if 128 < code < 160 else None
    words = last_line(completed.stderr)
    last = f"; its last words: {words}" if words else ""
    if signal == 9:
        return f"the runner on {target.name} was killed, perhaps because the memory did not suffice{last}"
    if code in (126, 127) and without_python(target):
        return f"{target.name} cannot start the runner{last}"
    if code == 127:
        python = target.python or "python3"
        return f"{target.name} has no {python}; install it, or let `python` in the profile name it{last}"
    if signal is not None:
        return f"the runner on {target.name} crashed with signal {signal}{last}"
    return f"the runner on {target.name} ended with exit code {code} and without a result{last}"


def _failure(target: Target, values: Mapping[str, Any], runtime: str | None, files: Mapping[str, Path]) -> EdgeVQAError:
    kind, text = values.get("kind"), f"{target.name}: {last_line(str(values.get('error')))}"
    for remote, path in files.items():
        text = text.replace(remote, str(path))
    if kind in ("model", "inputs"):
        return InputError(text)
    if kind == "delegate" and without_python(target) and target.delegate == "gpu":
        text += "; a phone's own driver is opened by benchmark_model, which the profile may name"
    if kind == "missing_runtime" and runtime is not None:
        if target.kind == "local":
            return MissingExtra(RUNTIMES[runtime].package, RUNTIMES[runtime].extra)
        text += f"; bring it there with: edgevqa device setup --target {target.argument} --runtime {runtime}"
    return DeviceError(text)


def _with_gpu_log(values: Mapping[str, Any], log: str) -> Mapping[str, Any]:
    """A result of the runner in C with what LiteRT's GPU accelerator only logs; the one in Python reads that itself."""
    told = GPULog(log)
    if not values["ok"]:
        return {**values, "error": told.why_not(values["error"])} if values.get("kind") == "delegate" else values
    more: dict[str, Any] = {}
    if values.get("delegate") == "GPU":
        more["adapter"] = told.adapter
        if not values["fully_accelerated"] and told.counts is not None:
            more["coverage_percent"] = round(100 * told.counts[0] / told.counts[1], 2)
    if values.get("fell_back"):
        more["fell_back"] = told.why_not(values["fell_back"])
    return {**values, **more}


def run_job(
    transport: Transport,
    target: Target,
    job: Mapping[str, Any],
    files: Mapping[str, Path],
    fetch: Sequence[str] = (),
    timeout_s: float = START_TIMEOUT_S,
) -> JobResult:
    """Run one job.

    Args:
        transport: the way to the target.
        target: gives the interpreter and, unless the job says otherwise, threads, core mask and delegate.
        job: see `runner.py`; file names in it are those of `files` and `fetch`.
        files: name there -> path here.
        fetch: what the runner writes.
        timeout_s: seconds for all of it, on real devices.

    Raises:
        DeviceError: the device or the runner failed.
        MissingExtra: the runtime is not installed on this machine.
        InputError: the runtime refuses the model or the questions.
    """
    if target.basis == "emulated":
        timeout_s *= EMULATED_PATIENCE
    runtime = job.get("runtime") or None
    multiplier = "onnxruntime" if job.get("mode") == "peak" and without_python(target) else runtime
    argv, own = runner_command(target, multiplier, transport)
    # `big` and `little` are masks once `cores.resolve_mask` was asked; what is not timed need not be pinned
    mask = None if target.core_mask in CORE_WORDS else target.core_mask
    settings = {"threads": target.threads, "core_mask": mask, "delegate": target.delegate}
    settings |= {key: True for key in ("allow_fallback", "enforce_fp32") if getattr(target, key)}
    packages = packages_folder(target, runtime)
    if packages is not None:
        job = {"packages": packages, **job}
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        path = Path(folder) / JOB_NAME
        path.write_text(json.dumps({**settings, **job}), encoding="utf-8")
        sent = {**own, **files, JOB_NAME: path}
        questions = str(job.get("inputs"))
        if without_python(target) and questions in files:
            sent[questions] = stored_questions(files[questions], Path(folder))
        completed = transport.run([*argv, JOB_NAME], sent, fetch, timeout_s)
    values = parse_result(completed.stdout)
    if values is None:
        raise DeviceError(_explain(target, completed))
    if without_python(target) and (runtime, target.delegate) == ("litert", "gpu"):
        values = _with_gpu_log(values, completed.stderr)
    if not values["ok"]:
        raise _failure(target, values, runtime, files)
    return JobResult(values, completed)


def probe(target: Target, runtime: str | None = None, transport: Transport | None = None) -> Mapping[str, Any]:
    """What a target is and has, see `runner.probe`; a named runtime is really imported there.

    Raises:
        DeviceError, MissingExtra: see `run_job`.
    """
    transport = transport or open_transport(target)
    if without_python(target) and runtime is None:
        found = phone_probe(transport, target.name)
    else:
        found = run_job(transport, target, {"mode": "probe", "runtime": runtime}, {}).values
    check_answer(found, PROBE, target.name)
    check_machine(target, str(found["machine"]))
    return found


def run_logits(
    target: Target,
    model: Path,
    inputs: Path,
    runtime: str,
    threads: int | None = None,
    transport: Transport | None = None,
    timeout_s: float = LOGITS_TIMEOUT_S,
) -> tuple[NDArray[np.float32], Mapping[str, Any]]:
    """Run a model on the device over stacked questions.

    Args:
        target: the device.
        model: the artifact's file.
        inputs: a `questions.npz` with n questions.
        runtime: one of `edgevqa.runtimes.RUNTIMES`.
        threads: how many; the target's own number by default.
        transport: a way to the target that is open already.
        timeout_s: seconds for all of it.

    Returns:
        logits (n, answers), and what the runner reported.

    Raises:
        UsageError: the file is for another runtime.
        DeviceError, MissingExtra, InputError: see `run_job`.
    """
    check_format(model, get_runtime(runtime))
    remote = "model" + model.suffix
    job: dict[str, Any] = {"mode": "logits", "runtime": runtime, "model": remote, "inputs": "questions.npz"}
    job |= {"output": "logits.npy", "threads": threads or target.threads}
    files = {remote: model, "questions.npz": inputs}
    transport = transport or open_transport(target)
    result = run_job(transport, target, job, files, ["logits.npy"], timeout_s)
    return result.array("logits.npy"), result.values
