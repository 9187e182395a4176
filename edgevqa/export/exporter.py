"""Export of a submodel: sliced once, one fp32 file for each format, everything else derived from it."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa import __version__
from edgevqa.errors import EdgeVQAError, EnvironmentFailure, InputError, UsageError
from edgevqa.export.manifest import (
    FORMATS,
    MANIFEST,
    REFERENCE,
    REFERENCE_LOGITS,
    SCHEMA_VERSION,
    Artifact,
    load_artifact,
)
from edgevqa.export.packages import versions
from edgevqa.export.quantize import Scheme, calibration_hash, choose_schemes, default_scheme
from edgevqa.export.reference import calibration_inputs, check_inputs, read_reference, run_module
from edgevqa.models.config import RegionInput, input_specs
from edgevqa.models.families import ModelConfig
from edgevqa.progress import Progress, Silent
from edgevqa.slimming.counting import count
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.slimming.rules import slice_config
from edgevqa.storage import (
    TEMPORARY_PREFIX,
    explain_os_error,
    folder_lock,
    new_folder,
    remove_leftovers,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgevqa.checkpoints import Checkpoint

    Inputs = Mapping[str, NDArray[Any]]

EXPORTER_VERSION = "1"
"""Raise this when the exporter writes other bytes: artifacts of older versions are then made again."""


@dataclass(frozen=True)
class Job:
    """A file to make: its place, its scheme, and what its manifest will say that is known beforehand."""

    folder: Path
    scheme: Scheme
    known: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The file in words."""
        return f"{self.known['submodel']} {self.folder.name}"

    def current(self) -> Artifact | None:
        """The artifact when it is there, whole, and what a new export would make."""
        try:
            artifact = load_artifact(self.folder)
        except (InputError, UsageError):
            return None
        same = all(artifact.manifest.get(key) == value for key, value in self.known.items())
        return artifact if same else None


def _inputs(config: ModelConfig, file_format: str) -> list[dict[str, Any]]:
    described = []
    for spec in input_specs(config):
        entry = {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype, "meaning": spec.meaning}
        if spec.name == "image":
            entry["layout"] = "NCHW"
            if file_format == "tflite":
                batch, channels, height, width = spec.shape
                entry |= {"shape": [batch, height, width, channels], "layout": "NHWC"}
        described.append(entry)
    return described


def plan_jobs(
    checkpoint: Checkpoint,
    plan: SubmodelPlan,
    schemes: Sequence[Scheme],
    out: Path,
    calibration: Inputs | None = None,
) -> list[Job]:
    """The files to make of a submodel; imports no exporter.

    Raises:
        UsageError: the plan does not fit the model, or calibration inputs are missing.
        MissingExtra: a package of the extra `export` is not installed.
        InputError: the checkpoint's reference questions are broken.
    """
    config = slice_config(checkpoint.config, plan)
    counts, picture, dataset = count(config), config.image, checkpoint.dataset or {}
    reference = read_reference(checkpoint.reference_path, checkpoint.config)
    calibrated = None if calibration is None else calibration_hash(calibration)
    jobs = []
    for scheme in schemes:
        if scheme.needs_calibration and calibration is None:
            raise UsageError(f"the scheme {scheme.name} needs calibration inputs")
        known = {
            "schema_version": SCHEMA_VERSION,
            "model": checkpoint.name,
            "model_sha256": checkpoint.sha256,
            "submodel": plan.name,
            "method": plan.method,
            "plan": plan.to_dict(),
            "format": scheme.format,
            "precision": scheme.precision,
            "scheme": scheme.name,
            "calibration_sha256": calibrated if scheme.needs_calibration else None,
            "parameters": counts.parameters,
            "macs": counts.macs,
            "flops": counts.flops,
            "width": None if plan.width is None else float(plan.width),
            "depth": plan.depth,
            "regions": picture.count if isinstance(picture, RegionInput) else None,
            "tokens": config.question_length + picture.tokens,
            "scope": "precomputed regions" if isinstance(picture, RegionInput) else "picture to answer",
            "inputs": _inputs(config, scheme.format),
            "output": {"name": "logits", "shape": [1, config.answer_count], "dtype": "float32"},
            "preprocessing": dict(checkpoint.preprocessing),
            "vocabulary": list(checkpoint.vocabulary.words),
            "answers": list(checkpoint.answers),
            "reference": {
                "file": REFERENCE,
                "sha256": sha256_file(checkpoint.reference_path),
                "count": len(reference["question"]),
            },
            "runtimes": list(scheme.runtimes),
            "task": {
                "dataset": dataset.get("name"),
                "version": dataset.get("version"),
                "seed": dataset.get("seed"),
                "trained": checkpoint.trained,
                "fp32_score": checkpoint.scores.get(plan.name),
            },
            "versions": {"edgevqa": __version__, "exporter": EXPORTER_VERSION, **versions(scheme.format)},
        }
        jobs.append(Job(Path(out) / checkpoint.name / plan.name / scheme.folder, scheme, known))
    return jobs


def share_reference(checkpoint: Checkpoint, out: Path) -> None:
    """Put the reference questions beside the submodels, where all artifacts of the model find them.

    Raises:
        UsageError: the folder holds artifacts of another checkpoint of the same name.
        EnvironmentFailure: the file cannot be written.
    """
    path = Path(out) / checkpoint.name / REFERENCE
    try:
        content = checkpoint.reference_path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {checkpoint.reference_path}: {error.strerror}") from error
    if not path.exists():
        write_bytes(path, content)
    elif sha256_file(path) != sha256_bytes(content):
        raise UsageError(
            f"{path.parents[1]} holds artifacts of another checkpoint called {checkpoint.name!r}; "
            "choose another --out, or remove that folder"
        )


def _write_fp32(file_format: str, module: torch.nn.Module, reference: Inputs, path: Path) -> tuple[str, ...]:
    """Write the fp32 file of a format; returns notes for the manifest."""
    from edgevqa.models.layers import fold_norms

    examples = {spec.name: reference[spec.name] for spec in input_specs(module.config)}  # type: ignore[arg-type]
    module = fold_norms(module)
    if file_format == "onnx":
        from edgevqa.export.onnx import export_onnx

        return export_onnx(module, examples, path).notes
    from edgevqa.export.tflite import export_tflite

    export_tflite(module, examples, path)
    return ()


def _read_back(file_format: str, path: Path) -> dict[str, Any]:
    """The version of the format and the operators, from the file itself."""
    if file_format == "onnx":
        from edgevqa.export.onnx import inspect_onnx

        onnx_file = inspect_onnx(path)
        return {FORMATS["onnx"]: onnx_file.opset, "operators": dict(onnx_file.operators)}
    from edgevqa.export.tflite import inspect_tflite

    tflite_file = inspect_tflite(path)
    return {FORMATS["tflite"]: tflite_file.schema, "operators": dict(tflite_file.operators)}


def _write_artifact(
    job: Job,
    fp32: Path,
    logits: NDArray[np.float32],
    calibration: Inputs | None,
    notes: Sequence[str],
    command: str,
) -> None:
    with new_folder(job.folder) as folder:
        path = folder / f"model.{job.scheme.format}"
        job.scheme.derive(fp32, path, calibration)
        np.save(folder / REFERENCE_LOGITS, logits)
        manifest = {
            **job.known,
            **_read_back(job.scheme.format, path),
            "file": path.name,
            "file_bytes": path.stat().st_size,
            "sha256": sha256_file(path),
            "reference_logits": {"file": REFERENCE_LOGITS, "sha256": sha256_file(folder / REFERENCE_LOGITS)},
            "notes": list(notes),
            "command": command,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(folder / MANIFEST, manifest)


def this_command() -> str:
    """The command line that runs, for the manifest."""
    return shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])


def export_submodel(
    checkpoint: Checkpoint,
    plan: SubmodelPlan,
    *,
    formats: Sequence[str] = ("onnx", "tflite"),
    precisions: Sequence[str] = ("fp32",),
    out: Path = Path("artifacts"),
    schemes: str | Sequence[str] = "auto",
    runtimes: Sequence[str] | None = None,
    calibration: Inputs | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> list[Artifact]:
    """Export one submodel in this process; what is there and would come out the same is not made again.

    Args:
        checkpoint: the slimmable model.
        plan: what stays of it.
        formats: of `onnx`, `tflite`.
        precisions: of `fp32`, `fp16`, `int8`.
        out: the folder of artifacts.
        schemes: "auto" or names of schemes, see `edgevqa.export.quantize.choose_schemes`.
        runtimes: make what is best for each of these runtimes instead of each format's default.
        calibration: inputs for schemes that need some; by default questions of the training split.
        command: what the manifests give as the command; by default this process's command line.
        progress: told about every file.

    Returns:
        the artifacts, in the order of formats and precisions.

    Raises:
        UsageError: formats, precisions, schemes or the plan make no sense.
        InputError: the checkpoint is broken.
        MissingExtra: the extra `export` is not installed.
        EnvironmentFailure: another process exports this submodel, or the files cannot be written.
    """
    progress = progress or Silent()
    chosen = choose_schemes(formats, precisions, schemes, runtimes)
    if calibration is None and any(scheme.needs_calibration for scheme in chosen):
        calibration = calibration_inputs(checkpoint)
    if calibration is not None:
        check_inputs(calibration, checkpoint.config, "the calibration")
    jobs = plan_jobs(checkpoint, plan, chosen, out, calibration)
    progress.start(f"exporting {plan.name}", len(jobs))
    try:
        folder = jobs[0].folder.parent
        with folder_lock(folder, "export"):
            remove_leftovers(folder)
            share_reference(checkpoint, out)
            missing = [job for job in jobs if job.current() is None]
            progress.step("already there", len(jobs) - len(missing))
            if missing:
                _export(checkpoint, plan, missing, calibration, command or this_command(), progress)
        return [load_artifact(job.folder, verify=False) for job in jobs]
    finally:
        progress.finish()


def remove_abandoned(folder: Path) -> None:
    """Remove what a killed export left in a submodel's folder, unless another one works there now."""
    if any(folder.glob(TEMPORARY_PREFIX + "*")):
        with contextlib.suppress(EnvironmentFailure), folder_lock(folder, "export"):
            remove_leftovers(folder)


def _export(
    checkpoint: Checkpoint,
    plan: SubmodelPlan,
    jobs: Sequence[Job],
    calibration: Inputs | None,
    command: str,
    progress: Progress,
) -> None:
    """Make files of one submodel, whose folder is locked."""
    module = checkpoint.submodel(plan)
    reference = read_reference(checkpoint.reference_path, checkpoint.config)
    logits = run_module(module, reference, checkpoint.config)
    if not np.isfinite(logits).all():
        raise InputError(f"{plan.name} of {checkpoint.name} gives logits that are no numbers; its weights are broken")
    folder = jobs[0].folder.parent
    try:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder) as temporary:
            for file_format in dict.fromkeys(job.scheme.format for job in jobs):
                wanted = [job for job in jobs if job.scheme.format == file_format]
                fp32 = Path(temporary) / f"fp32.{file_format}"
                base = _current_fp32(wanted[0], folder)
                try:
                    if base is None:
                        notes = _write_fp32(file_format, module, reference, fp32)
                    else:
                        fp32, notes = base.file, tuple(base.manifest["notes"])
                    for job in wanted:
                        _write_artifact(job, fp32, logits, calibration, notes, command)
                        progress.step(job.title)
                except (EdgeVQAError, OSError, MemoryError):
                    raise
                except Exception as error:
                    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                    raise EnvironmentFailure(f"cannot export {plan.name} to {file_format}: {text}") from error
    except OSError as error:
        raise explain_os_error(error, Path(os.fsdecode(error.filename or folder))) from error


def _current_fp32(job: Job, folder: Path) -> Artifact | None:
    """The fp32 artifact of the same format, when it is there and of the same weights and versions."""
    scheme = default_scheme(job.scheme.format, "fp32")
    own = {"precision": scheme.precision, "scheme": scheme.name, "calibration_sha256": None}
    known = {**job.known, **own, "runtimes": list(scheme.runtimes)}
    return Job(folder / scheme.folder, scheme, known).current()
