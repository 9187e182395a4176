"""Verdicts: what the gate says of an artifact in a runtime on a target, kept beside the artifact."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.errors import GateFailed, InputError, UsageError
from edgevqa.export.manifest import Artifact
from edgevqa.gate.compare import ScoreCheck
from edgevqa.gate.parity import Parity
from edgevqa.storage import read_json, write_json

SCHEMA_VERSION = 1
PASSED, UNSCORED, FAILED = "passed", "unscored", "failed"


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict.

    Attributes:
        status: `passed`; `unscored`: parity holds, but the weights are untrained or no labelled questions exist: it
            may be timed, and never lies on a front; `failed`: it is never timed.
        reason: why, in one line; empty when it passed.
        artifact: name of the artifact.
        artifact_sha256, reference_sha256: of the file and of the reference logits that the verdict is about.
        runtime, target, delegate, threads: where it ran.
        runtime_version: the version that answered.
        parity: the logits on the reference questions; None when it did not run.
        score: the score; of the reference questions until more were asked.
        created: when.
        machine: which machine it was, for targets that are wherever the command runs; None where the target says it.
    """

    status: str
    reason: str
    artifact: str
    artifact_sha256: str
    reference_sha256: str
    runtime: str
    runtime_version: str | None
    target: str
    delegate: str
    threads: int
    parity: Parity | None
    score: ScoreCheck | None
    created: str
    machine: str | None = None

    @property
    def may_be_timed(self) -> bool:
        """Whether the bench may measure it."""
        return self.status != FAILED

    @property
    def final(self) -> bool:
        """Whether the score is that of a full test split."""
        return self.score is not None and self.score.full

    def require(self) -> None:
        """Raise GateFailed with the reason when the verdict is `failed`."""
        if self.status == FAILED:
            raise GateFailed(f"{self.artifact} failed the gate in {self.runtime} on {self.target}: {self.reason}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description that `from_dict` reads back."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Verdict:
        """Read what `to_dict` wrote; raises InputError when it is something else."""
        try:
            values = dict(described)
            if values.pop("schema_version") != SCHEMA_VERSION:
                raise InputError("it is of another version")
            values["parity"] = None if values["parity"] is None else Parity(**values["parity"])
            values["score"] = None if values["score"] is None else ScoreCheck(**values["score"])
            verdict = cls(**values)
            if verdict.status not in (PASSED, UNSCORED, FAILED):
                raise InputError(f"the status {verdict.status!r} is not known")
            judge(True, verdict.parity, verdict.score)  # compares every figure, so that none is of another type
            return verdict
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is no verdict of the gate: {error}") from error


def judge(trained: bool, parity: Parity | None, score: ScoreCheck | None) -> tuple[str, str]:
    """The status and the reason that parity and score amount to."""
    if parity is not None and not parity.passed:
        return FAILED, parity.reason
    if not trained:
        return UNSCORED, "the weights are untrained"
    if score is None:
        return UNSCORED, "there are no questions with answers"
    if not score.passed:
        return FAILED, score.reason
    return PASSED, ""


def now() -> str:
    """The time, for `Verdict.created`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def verdict_path(artifact: Artifact, runtime: str, target: str, delegate: str = "cpu") -> Path:
    """Where the verdict about an artifact lies; raises UsageError for names that make no file name.

    What computes on the same target, `delegate`, has a verdict of its own.
    """
    for name in (runtime, target):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise UsageError(f"{name!r} is no name of a runtime or target")
    suffix = "" if delegate == "cpu" else "-on-" + delegate.replace(" ", "-").lower()
    return artifact.folder / f"gate-{runtime}-{target}{suffix}.json"


def read_verdict(artifact: Artifact, runtime: str, target: str, delegate: str = "cpu") -> Verdict | None:
    """The verdict about this very file and its reference logits, or None: then the gate must run (again)."""
    path = verdict_path(artifact, runtime, target, delegate)
    if not path.is_file():
        return None
    try:
        verdict = Verdict.from_dict(read_json(path))
    except InputError:
        return None
    about = (verdict.artifact_sha256, verdict.reference_sha256, verdict.runtime, verdict.target)
    manifest = artifact.manifest
    current = (manifest["sha256"], manifest["reference_logits"]["sha256"], runtime, target)
    return verdict if about == current else None


def write_verdict(artifact: Artifact, verdict: Verdict) -> None:
    """Keep a verdict beside its artifact; raises EnvironmentFailure when it cannot be written."""
    write_json(verdict_path(artifact, verdict.runtime, verdict.target, verdict.delegate), verdict.to_dict())
