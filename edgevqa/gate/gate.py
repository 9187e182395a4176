"""The quick gate: the reference questions, in the artifact's runtime, on the device that will be timed."""

from __future__ import annotations

import platform
import threading
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.data.score import VQA_ACCURACY, AnswerKey
from edgevqa.devices import Target, Transport, open_transport, quiet
from edgevqa.devices.adb import ADBTransport
from edgevqa.devices.jobs import run_logits
from edgevqa.errors import EdgeVQAError, InputError, IntegrityError
from edgevqa.export.manifest import Artifact
from edgevqa.gate.compare import LIMITS, ScoreCheck, compare_answers
from edgevqa.gate.parity import TOLERANCES, Parity, margins, parity, tolerance_for
from edgevqa.gate.verdict import FAILED, Verdict, judge, now, read_verdict, write_verdict
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import ON_CPU, check_format, get_runtime, importable
from edgevqa.runtimes.runner import package_version, probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE_QUESTIONS = "the reference questions"
WORKERS = 2


def reference_key(artifact: Artifact) -> AnswerKey | None:
    """What answers to the reference questions are worth, or None when they have no right answers."""
    path = artifact.reference_inputs
    try:
        with np.load(path, allow_pickle=False) as stored:
            if "worth" in stored.files:
                worth = stored["worth"]
                if worth.dtype.kind != "f" or worth.ndim != 2 or not ((worth >= 0) & (worth <= 1)).all():
                    raise IntegrityError(f"{path}: its answers are not worth 0 to 1 each; export the artifact again")
                return AnswerKey.from_dense(VQA_ACCURACY, worth.astype(np.float64).round(6))
            labels = stored["labels"] if "labels" in stored.files else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise IntegrityError(f"{path} is not readable: {error}; export the artifact again") from None
    if labels is not None and (labels.dtype.kind not in "iu" or labels.ndim != 1):
        raise IntegrityError(f"{path}: its labels are no list of whole numbers; export the artifact again")
    return None if labels is None or (labels < 0).all() else AnswerKey.one_right(labels)


def machine_of(target: Target, transport: Transport | None = None) -> str | None:
    """Which machine a target is now: this one's name, architecture and processor, or the address of another.

    Raises:
        DeviceError: the profile leaves open which phone it is, and there is none or several.
    """
    if target.kind == "adb" and target.serial is None:
        transport = transport or open_transport(target)
        if isinstance(transport, ADBTransport):
            transport.connect()
            return transport.serial
    if target.kind == "emulated":
        return " ".join(filter(None, (target.root, target.cpu))) or None
    if target.kind != "local":
        return target.host or target.serial
    return f"{platform.node()} {platform.machine()} {probe()['cpu_model']}"


def delegate_of(target: Target) -> str:
    """What a target computes with, as a verdict names it: one that let something else run proves less."""
    fp32 = " in fp32" if target.enforce_fp32 else ""
    return target.delegate + fp32 + (" or CPU" if target.allow_fallback else "")


def computed_in_fp16(found: Parity, target: Target) -> bool:
    """Whether logits are so wrong as they are when a GPU takes fp32 for fp16."""
    strict = found.tolerance < TOLERANCES["fp16"] and found.relative is not None and not target.enforce_fp32
    return target.delegate not in ON_CPU and strict and found.tolerance < (found.relative or 0) <= TOLERANCES["fp16"]


def version_here(target: Target, runtime: str) -> str | None:
    """The version of a runtime that a local target would use, where that is known without starting it."""
    known = get_runtime(runtime)
    if target.kind != "local" or target.python is not None or not importable(known):
        return None
    return package_version(known.package)


def still_holds(
    verdict: Verdict | None, target: Target, tolerance: float, runtime_version: str | None, machine: str | None
) -> bool:
    """Whether a verdict need not be found again: nothing that it depends on has changed."""
    if verdict is None:
        return False
    if (verdict.delegate, verdict.threads) != (delegate_of(target), target.threads):
        return False
    if verdict.machine != machine:
        return False
    if runtime_version is not None and verdict.runtime_version not in (None, runtime_version):
        return False
    return verdict.parity is None or verdict.parity.tolerance == tolerance


def quick_gate(
    artifact: Artifact,
    runtime: str,
    target: Target,
    *,
    transport: Transport | None = None,
    runtime_version: str | None = None,
    again: bool = False,
) -> Verdict:
    """Judge an artifact by the reference questions; the verdict is kept beside it and reused while nothing changes.

    Args:
        artifact: what is judged; its files are compared with its manifest first.
        runtime: one of `edgevqa.runtimes.RUNTIMES`.
        target: the device; its tolerances come before the general ones.
        transport: a way to the target that is open already.
        runtime_version: the version that is known to be on the target; a verdict about another one is not reused.
        again: whether to run even if there is a verdict.

    Raises:
        UsageError: the file is for another runtime.
        IntegrityError: a file of the artifact does not match its manifest.
        DeviceError, MissingExtra: the device failed or lacks the runtime; then there is no verdict.
        EnvironmentFailure: the verdict cannot be written.
    """
    check_format(artifact.file, get_runtime(runtime))
    manifest = artifact.manifest
    tolerance = tolerance_for(manifest["precision"], target.tolerances)
    artifact.verify()
    runtime_version = runtime_version or version_here(target, runtime)
    machine = machine_of(target, transport)
    known = read_verdict(artifact, runtime, target.name, delegate_of(target))
    if known is not None and not again and still_holds(known, target, tolerance, runtime_version, machine):
        return known
    values: dict[str, Any] = {
        "artifact": artifact.name,
        "artifact_sha256": artifact.sha256,
        "reference_sha256": manifest["reference_logits"]["sha256"],
        "runtime": runtime,
        "target": target.name,
        "delegate": delegate_of(target),
        "threads": target.threads,
        "created": now(),
        "machine": machine,
    }
    reference = artifact.reference_logits()
    try:
        logits, facts = run_logits(target, artifact.file, artifact.reference_inputs, runtime, transport=transport)
        found = parity(reference, logits, tolerance)
    except InputError as error:  # the runtime refuses the file or its inputs: that is the file's fault
        elsewhere = "" if target.kind == "local" else f"; {_here(artifact, runtime, reference, tolerance)}"
        verdict = Verdict(
            **values,
            status=FAILED,
            reason=" ".join(str(error).split()) + elsewhere,
            runtime_version=runtime_version,
            parity=None,
            score=None,
        )
    else:
        score = _reference_score(artifact, logits, reference, tolerance_for("fp32", target.tolerances))
        status, reason = judge(manifest["task"]["trained"], found, score)
        if status == FAILED and computed_in_fp16(found, target):
            reason += f"; {target.delegate} may compute in fp16: see `enforce_fp32` and [tolerances] of a profile"
        if status == FAILED and target.kind != "local":
            reason += f"; {_here(artifact, runtime, reference, tolerance)}"
        verdict = Verdict(
            **values,
            status=status,
            reason=reason,
            runtime_version=facts.get("runtime_version"),
            parity=found,
            score=score,
        )
    write_verdict(artifact, verdict)
    return verdict


def _here(artifact: Artifact, runtime: str, reference: NDArray[np.float32], tolerance: float) -> str:
    """Whether a file that is wrong on a device is right on this machine, in words."""
    here = Target(name="this machine", description="", kind="local", runtimes=(runtime,))
    try:
        with quiet.HERE.noise():
            logits, facts = run_logits(here, artifact.file, artifact.reference_inputs, runtime)
    except EdgeVQAError as error:
        return f"whether it is right on this machine is unknown: {error}"
    if not parity(reference, logits, tolerance).passed:
        return "it is as wrong on this machine"
    return f"it is right on this machine ({runtime} {facts.get('runtime_version')}), so the device is at fault"


def _reference_score(
    artifact: Artifact, logits: NDArray[np.float32], reference: NDArray[np.float32], near_tie: float
) -> ScoreCheck | None:
    key = reference_key(artifact) if artifact.manifest["task"]["trained"] else None
    if key is None:
        return None
    return compare_answers(
        logits.argmax(axis=1),
        reference.argmax(axis=1),
        key,
        questions=REFERENCE_QUESTIONS,
        limit=LIMITS[artifact.manifest["precision"]],
        full=False,
        near_ties=margins(reference) <= near_tie,
    )


def quick_gates(
    pairs: Sequence[tuple[Artifact, str]],
    target: Target,
    *,
    transport: Transport | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Judge artifacts, each in a runtime, see `quick_gate`; on this machine two at a time."""
    progress = progress or Silent()
    lock = threading.Lock()

    def judge_one(pair: tuple[Artifact, str]) -> Verdict:
        artifact, runtime = pair
        verdict = quick_gate(artifact, runtime, target, transport=transport, again=again)
        with lock:
            progress.step(f"gate: {artifact.name} in {runtime}: {verdict.status}")
        return verdict

    progress.start("gating", len(pairs))
    threads = ThreadPoolExecutor(WORKERS if target.kind == "local" else 1)
    try:
        return list(threads.map(judge_one, pairs))
    finally:
        threads.shutdown(cancel_futures=True)
        progress.finish()
