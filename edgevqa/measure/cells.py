"""What is measured: cells, each an artifact in a runtime with a number of threads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from edgevqa.devices import Target
from edgevqa.devices.jobs import runner_sha256
from edgevqa.export.quantize import scheme_of
from edgevqa.measure.environment import Environment
from edgevqa.measure.instructions import why_not_counted
from edgevqa.measure.parts import Parts
from edgevqa.measure.protocols import Protocol
from edgevqa.measure.record import Record
from edgevqa.runtimes import ON_CPU, get_delegates, get_runtime
from edgevqa.storage import dump_json, sha256_bytes


class ArtifactLike(Interface):
    """What is needed of an artifact: its folder and file, its manifest, and the reference questions."""

    @property
    def folder(self) -> Path:
        """The artifact's folder."""

    @property
    def file(self) -> Path:
        """The model file."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The content of `manifest.json`."""

    @property
    def reference_inputs(self) -> Path:
        """The `questions.npz` with which it is timed."""


class VerdictLike(Interface):
    """What is needed of a gate's verdict; `parity` and `score` may be None."""

    @property
    def status(self) -> str:
        """`passed`, `unscored` or `failed`."""

    @property
    def reason(self) -> str:
        """Why, in one line."""

    @property
    def parity(self) -> Any:
        """A value with `relative`, the largest logit difference over the logit range."""

    @property
    def score(self) -> Any:
        """A value with `percent`, `standard_error` and `count`."""


Gate = Callable[[Any, str, Target], VerdictLike]


@dataclass
class Cell:
    """An artifact in a runtime with a number of threads, and what is known of it so far."""

    artifact: ArtifactLike
    runtime: str
    threads: int
    environment: Environment
    experiment: str
    verdict: Mapping[str, Any] = field(default_factory=dict)
    record: Record | None = None
    parts: Parts | None = None

    @property
    def name(self) -> str:
        """The cell in words."""
        manifest = self.artifact.manifest
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{manifest['submodel']} {self.artifact.folder.name} in {self.runtime}{threads}"


def fitting_runtimes(artifact: ArtifactLike, target: Target, wanted: Sequence[str] | None) -> list[str]:
    """The runtimes of a target (or of `wanted`) that the artifact is intended for, see its manifest.

    None of those is left where the target computes on something that takes no such file whole.
    """
    names = target.runtimes if wanted is None else wanted
    intended = artifact.manifest.get("runtimes") or names
    fitting = [name for name in names if get_runtime(name).format == artifact.manifest["format"]]
    if why_not_on(artifact, target):
        return []
    return [name for name in fitting if name in intended and target.delegate in get_delegates(name)]


def why_not_on(artifact: ArtifactLike, target: Target) -> str:
    """Why a target's delegate is not for such a file; empty where it may be, and where a fall back is allowed."""
    scheme = scheme_of(artifact.manifest)
    if target.delegate in ON_CPU or target.allow_fallback or scheme is None:
        return ""
    return scheme.cpu_only


def experiment_id(
    artifact: ArtifactLike, target: Target, environment: Environment, threads: int, protocol: Protocol
) -> str:
    """The hash of all that a measurement depends on; the environment holds the runtime and its version."""
    delegate = target.delegate
    if target.allow_fallback or target.enforce_fp32:  # what they are not said to be, older rows are
        delegate += f", fallback {target.allow_fallback}, fp32 {target.enforce_fp32}"
    identity = {
        "environment": environment.id,
        "artifact": artifact.manifest["sha256"],
        "questions": artifact.manifest.get("reference", {}).get("sha256"),
        "target": [target.name, target.core_mask, delegate, target.basis],
        "threads": threads,
        "protocol": dataclasses.asdict(protocol),
        "runner": runner_sha256(target),
    }
    if target.kind == "emulated":  # a row without counts is measured again once there can be some
        identity["counted"] = why_not_counted(target, threads) is None
    return sha256_bytes(dump_json(identity).encode())[:16]
