"""Schemes: the ways in which a file of each format and precision is made from the fp32 file.

Which scheme is the default of a runtime was decided by measuring, see `docs/decisions.md`:

    onnx int8    dynamic      signed weights per channel; LSTM, embedding and classifier too, which was as fast as
                              leaving them and a fifth to two thirds smaller. Convolutions stay float: ConvInteger
                              is 2.5 times slower. Products of two activations hold no weights and stay float.
                 reduced-range  for x86 CPUs without VNNI, where sums of products of 8 bits overflow: 7-bit weights.
                              Made only when named.
    tflite fp16  half-weights
                 half-gpu     for GPUs: LiteRT's GPU delegate looks words up in fp32 alone, so their table stays fp32.
                              Made for targets that compute on a GPU, and when named.
    tflite int8  dynamic      for LiteRT. tflite-runtime 2.14 runs these files with wrong logits and without an error.
                 weight-only  for tflite-runtime: right there, as fast as fp32, a quarter of the size.
                 static       activations of linear layers and convolutions as int8, too, by calibration. Attention
                              stays float, where the masks' -1e4 would leave nothing of the scores in 8 bits. Right in
                              both runtimes, the best in neither: made only when named.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import UsageError
from edgevqa.export.compact import compact_onnx, compact_tflite
from edgevqa.export.packages import quiet, require
from edgevqa.export.tflite import PICTURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Calibration = Mapping[str, NDArray[Any]]

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Scheme:
    """A way to make a file.

    Args:
        name: of the scheme.
        format: `onnx` or `tflite`.
        precision: `fp32`, `fp16` or `int8`.
        runtimes: for which the file is intended: it is gated, timed and asked in these alone. It is right there; where
            several schemes of one format and precision name a runtime, the first in `SCHEMES` is its best.
        summary: one line for people.
        derive: writes the file (second path) from the fp32 file (first path) and calibration inputs, if needed.
        needs_calibration: whether real inputs are needed.
        cpu_only: why no accelerator takes such a file whole; empty where one may.
    """

    name: str
    format: str
    precision: str
    runtimes: tuple[str, ...]
    summary: str
    derive: Callable[[Path, Path, Calibration | None], None]
    needs_calibration: bool = False
    cpu_only: str = ""

    @property
    def is_default(self) -> bool:
        """Whether this is the first scheme of its format and precision."""
        return default_scheme(self.format, self.precision) == self

    @property
    def folder(self) -> str:
        """The name of the artifact's folder: `tflite-int8`, and `tflite-int8-static` for what is not the default."""
        base = f"{self.format}-{self.precision}"
        return base if self.is_default else f"{base}-{self.name}"


def calibration_hash(calibration: Calibration) -> str:
    """sha256 of calibration inputs: names, types, shapes and values."""
    import numpy as np

    digest = hashlib.sha256()
    for name, values in sorted(calibration.items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _copy(source: Path, target: Path, _calibration: Calibration | None) -> None:
    target.write_bytes(source.read_bytes())


def _onnx_dynamic(source: Path, target: Path, _calibration: Calibration | None, *, reduced_range: bool = False) -> None:
    quantization = require("onnxruntime.quantization")
    with quiet(), tempfile.TemporaryDirectory(dir=target.parent) as folder:
        written = Path(folder) / "model.onnx"
        quantization.quantize_dynamic(
            source,
            written,
            per_channel=True,
            reduce_range=reduced_range,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Gather"],
            extra_options={"MatMulConstBOnly": True},
        )
        target.write_bytes(written.read_bytes())
    compact_onnx(target)


def _onnx_half(source: Path, target: Path, _calibration: Calibration | None) -> None:
    onnx, float16 = require("onnx"), require("onnxruntime.transformers.float16")
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, "LSTM"]  # ONNX Runtime has no fp16 LSTM for CPUs
    with quiet():
        half = float16.convert_float_to_float16(onnx.load(source), keep_io_types=True, op_block_list=blocked)
    target.write_bytes(half.SerializeToString(deterministic=True))
    compact_onnx(target)


def _tflite(source: Path, target: Path, recipe: Any, statistics: Any = None) -> None:
    quantizer = require("ai_edge_quantizer.quantizer")
    with quiet():
        result = quantizer.Quantizer(source.read_bytes(), recipe.get_quantization_recipe()).quantize(statistics)
    target.write_bytes(bytes(result.quantized_model))
    compact_tflite(target)


def _recipe() -> Any:
    return require("ai_edge_quantizer.recipe_manager").RecipeManager()


def _operations() -> Any:
    return require("ai_edge_quantizer.qtyping").TFLOperationName


def _tflite_dynamic(source: Path, target: Path, _calibration: Calibration | None) -> None:
    recipe = _recipe()
    recipe.add_dynamic_config(regex=".*", operation_name=_operations().ALL_SUPPORTED, num_bits=8)
    _tflite(source, target, recipe)


def _tflite_weight_only(source: Path, target: Path, _calibration: Calibration | None) -> None:
    recipe = _recipe()
    recipe.add_weight_only_config(regex=".*", operation_name=_operations().ALL_SUPPORTED, num_bits=8)
    _tflite(source, target, recipe)


def _tflite_half(source: Path, target: Path, _calibration: Calibration | None, *, words_too: bool = True) -> None:
    typing, names = (
        require("ai_edge_quantizer.qtyping"),
        require("ai_edge_quantizer.algorithm_manager").AlgorithmName,
    )
    half = typing.TensorQuantizationConfig(num_bits=16, dtype=typing.TensorDataType.FLOAT)
    config = typing.OpQuantizationConfig(
        weight_tensor_config=half, compute_precision=typing.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    recipe = _recipe()
    recipe.add_quantization_config(".*", _operations().ALL_SUPPORTED, config, names.FLOAT_CASTING)
    if not words_too:
        recipe.add_quantization_config(".*", _operations().EMBEDDING_LOOKUP, None, names.NO_QUANTIZE)
    _tflite(source, target, recipe)


def _tflite_static(source: Path, target: Path, calibration: Calibration | None) -> None:
    """Ranges are the true extremes: the quantizer's own moving average cut the logits off by 16 % of their range."""
    if calibration is None:
        raise UsageError("the scheme static needs calibration inputs")
    operations = _operations()
    recipe = _recipe()
    for operation in (operations.FULLY_CONNECTED, operations.CONV_2D):
        recipe.add_static_config(regex=".*", operation_name=operation, activation_num_bits=8, weight_num_bits=8)
    recipe.add_weight_only_config(regex=".*", operation_name=operations.EMBEDDING_LOOKUP, num_bits=8)
    calibrator, update = require("ai_edge_quantizer.calibrator"), require("ai_edge_quantizer.utils.qsv_utils")
    inputs = {
        name: values.transpose(0, 2, 3, 1).copy() if name == PICTURE else values for name, values in calibration.items()
    }
    rows = range(len(next(iter(inputs.values()))))
    with quiet():
        observer = calibrator.Calibrator(
            source.read_bytes(),
            num_threads=1,
            mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=update.min_max_update,
        )
        samples = [{name: values[row : row + 1] for name, values in inputs.items()} for row in rows]
        observer.calibrate({None: samples}, recipe)
    _tflite(source, target, recipe, observer.get_model_qsvs())


_NO_INT8 = "GPU delegates do not take these models with weights of 8 bits"
_ORT, _LITERT, _BOTH = ("onnxruntime",), ("litert",), ("litert", "tflite_runtime")

SCHEMES: tuple[Scheme, ...] = (
    Scheme("float", "onnx", "fp32", _ORT, "fp32 as trained", _copy),
    Scheme("float", "tflite", "fp32", _BOTH, "fp32 as trained", _copy),
    Scheme("half", "onnx", "fp16", _ORT, "fp16 but for the LSTM, fp32 inputs and logits", _onnx_half),
    Scheme(
        "half-weights",
        "tflite",
        "fp16",
        _BOTH,
        "fp16 weights, computed as the device likes",
        _tflite_half,
        cpu_only="LiteRT's GPU delegate looks words up in fp32 alone; export with --scheme half-gpu",
    ),
    Scheme(
        "half-gpu",
        "tflite",
        "fp16",
        _BOTH,
        "as half-weights, with word vectors in fp32 as GPUs want them",
        functools.partial(_tflite_half, words_too=False),
    ),
    Scheme(
        "dynamic",
        "onnx",
        "int8",
        _ORT,
        "int8 weights per channel, activations as they come",
        _onnx_dynamic,
        cpu_only=_NO_INT8,
    ),
    Scheme(
        "reduced-range",
        "onnx",
        "int8",
        _ORT,
        "as dynamic, with 7-bit weights",
        functools.partial(_onnx_dynamic, reduced_range=True),
        cpu_only=_NO_INT8,
    ),
    Scheme(
        "dynamic",
        "tflite",
        "int8",
        _LITERT,
        "int8 weights per channel, activations as they come",
        _tflite_dynamic,
        cpu_only=_NO_INT8,
    ),
    Scheme(
        "weight-only",
        "tflite",
        "int8",
        ("tflite_runtime",),
        "int8 weights, computed in fp32",
        _tflite_weight_only,
        cpu_only=_NO_INT8,
    ),
    Scheme("static", "tflite", "int8", _BOTH, "int8 linear layers, calibrated ranges", _tflite_static, True, _NO_INT8),
)
"""In order of preference: the first of a format and precision is its default, the first that names a runtime is what is
made for that runtime, and the others are made only when they are named."""


def scheme_of(manifest: Mapping[str, Any]) -> Scheme | None:
    """The scheme that an artifact was made by; None where this version does not know it."""
    wanted = (manifest.get("format"), manifest.get("precision"), manifest.get("scheme"))
    return next((one for one in SCHEMES if (one.format, one.precision, one.name) == wanted), None)


def schemes_for_gpu(formats: Sequence[str], precisions: Sequence[str]) -> tuple[str, ...]:
    """The schemes to name instead of defaults of which a GPU would leave a part to the CPU.

    Raises:
        UsageError: no scheme of a format and precision is for anything but CPUs.
    """
    names = []
    for file_format in formats:
        for precision in precisions:
            default = default_scheme(file_format, precision)
            if default.cpu_only:
                alike = [one for one in SCHEMES if (one.format, one.precision) == (file_format, precision)]
                better = next((one for one in alike if not one.cpu_only and not one.needs_calibration), None)
                if better is None:
                    raise UsageError(f"{file_format} {precision} is for CPUs: {default.cpu_only}; leave it out")
                names.append(better.name)
    return tuple(names)


def default_scheme(file_format: str, precision: str) -> Scheme:
    """The first scheme of a format and precision; raises UsageError when there is none."""
    for scheme in SCHEMES:
        if (scheme.format, scheme.precision) == (file_format, precision):
            return scheme
    formats = ", ".join(dict.fromkeys(scheme.format for scheme in SCHEMES))
    raise UsageError(f"there is no {file_format} {precision}; formats: {formats}; precisions: {', '.join(PRECISIONS)}")


def _for_runtimes(file_format: str, precision: str, runtimes: Sequence[str]) -> list[Scheme]:
    chosen = []
    for runtime in runtimes:
        fitting = (
            scheme
            for scheme in SCHEMES
            if (scheme.format, scheme.precision) == (file_format, precision) and runtime in scheme.runtimes
        )
        chosen += [scheme for scheme in [next(fitting, None)] if scheme is not None]
    return chosen


def choose_schemes(
    formats: Sequence[str],
    precisions: Sequence[str],
    schemes: str | Sequence[str] = "auto",
    runtimes: Sequence[str] | None = None,
) -> list[Scheme]:
    """The files to make for each combination of formats and precisions.

    Args:
        formats: of `onnx`, `tflite`.
        precisions: of `fp32`, `fp16`, `int8`.
        schemes: "auto", or names of schemes: where a format and precision has one of them, it is taken instead of
            the default.
        runtimes: make what is best for each of these instead of the default.

    Raises:
        UsageError: a name is unknown, or nothing fits.
    """
    names = () if schemes == "auto" else (schemes,) if isinstance(schemes, str) else tuple(schemes)
    if unknown := set(names) - {scheme.name for scheme in SCHEMES}:
        known = ", ".join(dict.fromkeys(scheme.name for scheme in SCHEMES))
        raise UsageError(f"there is no scheme {sorted(unknown)[0]!r}; known: auto, {known}")
    chosen: list[Scheme] = []
    for file_format in formats:
        for precision in precisions:
            default = default_scheme(file_format, precision)
            named = [
                scheme
                for scheme in SCHEMES
                if (scheme.format, scheme.precision) == (file_format, precision) and scheme.name in names
            ]
            if runtimes is not None and not named:
                chosen += _for_runtimes(file_format, precision, runtimes)
            else:
                chosen += named or [default]
    if not chosen:
        raise UsageError(f"none of the runtimes {', '.join(runtimes or ())} opens {' or '.join(formats)} files")
    if missing := set(names) - {scheme.name for scheme in chosen}:
        asked = f"{', '.join(formats)} in {', '.join(precisions)}"
        raise UsageError(f"the scheme {sorted(missing)[0]!r} does not exist for {asked}")
    return list(dict.fromkeys(chosen))
