"""The one file that runs where the model runs; it needs only numpy and a runtime, for gating and for timing.

    python runner.py JOB.json

The job is a JSON object; its file names are relative to the working folder. Its `delegate` is what the runtime is to
compute with; where that would leave a part of the model to the CPU, the job fails, unless `allow_fallback` is true:
then the result says in `fell_back` why something else ran. The last line on standard output is
`EDGEVQA-RESULT {json}`; a failure is `{"ok": false, "error": ..., "kind": ...}` with exit code 3. Modes:

    logits  run every question once, write the logits (n, answers) as float32
    time    load, first inference, warm-up, a loop over the questions in turn; write the nanoseconds of each
            (with `markers`, system calls that a counting emulator knows enclose each)
    peak    fp32 matrix products with numpy, the speed that percent of peak refers to
    probe   what this machine is and has; a runtime that is named is really imported

It runs from Python 3.9 on, imports nothing of edgevqa and sends no telemetry. MB are 1e6 bytes. What only some jobs
need is imported by them, for all of it stands in the memory that is reported.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
import time
from array import array as packed
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

RESULT_MARK = "EDGEVQA-RESULT "
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
MATRIX_SIZE = 1024
MATRIX_SECONDS = 0.5
MARKER = 12345

Specs = dict[str, tuple[tuple[Any, ...], str]]
Inputs = dict[str, Any]


class RunnerError(Exception):
    """A failure with its kind: `job`, `missing_runtime`, `delegate`, `model`, `inputs`, `run` or `write`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


# Runtimes


# names of ONNX Runtime's execution providers, as jobs call them
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "dml": "DmlExecutionProvider",
    "acl": "ACLExecutionProvider",
}


class Settings:
    """How a model is to be opened.

    `whole` wants every operator on the delegate; without it the rest may run on the CPU. `enforce_fp32` forbids a GPU
    to compute in fp16.
    """

    def __init__(self, threads: int, delegate: str = "cpu", whole: bool = True, enforce_fp32: bool = False) -> None:
        self.threads, self.delegate, self.whole, self.enforce_fp32 = threads, delegate, whole, enforce_fp32


class OnnxRuntime:
    """ONNX Runtime with one execution provider and explicit threads."""

    module = "onnxruntime"
    package = "onnxruntime"
    delegates = tuple(PROVIDERS)

    def __init__(self, module: Any, model: str, settings: Settings) -> None:
        provider = PROVIDERS[settings.delegate]
        if provider not in module.get_available_providers():
            raise RunnerError("delegate", f"no {settings.delegate} here{having(self, module)}")
        options = module.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        told = hasattr(module.InferenceSession, "get_provider_graph_assignment_info")  # from 1.24 on
        accelerated = settings.delegate != "cpu"
        if accelerated and told:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        elif accelerated and settings.whole:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        # without the last argument a failing provider is replaced by the CPU, without an error
        self.session = module.InferenceSession(model, options, providers=[provider], enable_fallback=0)
        self.provider, self.on_cpu = (
            self.session.get_providers()[0],
            self.assigned_to_cpu() if accelerated and told else {},
        )
        if self.provider != provider:
            raise RunnerError("delegate", f"asked for {provider}, got {self.provider}; its device may be missing")
        if self.on_cpu and settings.whole:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.on_cpu.items())
            count = sum(self.on_cpu.values())
            raise RunnerError("delegate", f"{settings.delegate} leaves {count} operators to the CPU: {kinds}")
        self.settings, self.whole = settings, not self.on_cpu and (told or settings.whole)
        kinds_of = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
        self.inputs: Specs = {
            item.name: (tuple(item.shape), kinds_of.get(item.type, item.type[len("tensor(") : -1]))
            for item in self.session.get_inputs()
        }
        self.output = only_output([item.name for item in self.session.get_outputs()])

    def assigned_to_cpu(self) -> dict[str, int]:
        """How many operators of each kind the CPU got, the most frequent first."""
        counts: dict[str, int] = {}
        for part in self.session.get_provider_graph_assignment_info():
            if part.ep_name == PROVIDERS["cpu"]:
                for node in part.get_nodes():
                    counts[node.op_type] = counts.get(node.op_type, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def run(self, inputs: Inputs) -> Any:
        """Logits (1, answers) of the inputs of one question."""
        return self.session.run([self.output], inputs)[0]

    def facts(self) -> dict[str, Any]:
        """What really ran; the share of operators is known only where it is all of them."""
        accelerated = self.settings.delegate != "cpu"
        return {
            "delegate": self.provider,
            "fully_accelerated": self.whole if accelerated else None,
            "coverage_percent": 100.0 if accelerated and self.whole else None,
            "partitions": None,
            "adapter": vulkan_adapter() if self.settings.delegate == "webgpu" else None,
            "arithmetic": None,
        }

    @staticmethod
    def offered(module: Any) -> list[str]:
        """The delegates that this package was built with; whether their devices are there is another matter."""
        available = module.get_available_providers()
        return [name for name, provider in PROVIDERS.items() if provider in available]


class LiteRT:
    """LiteRT's interpreter; its CPU path is the XNNPACK delegate with explicit threads.

    The interpreter is used rather than a signature runner, which allocates all tensors again in every call.
    """

    module = "ai_edge_litert.interpreter"
    package = "ai-edge-litert"
    delegates: tuple[str, ...] = ("cpu", "gpu")

    def __init__(self, module: Any, model: str, settings: Settings) -> None:
        self.interpreter = module.Interpreter(model_path=model, num_threads=settings.threads)
        self.interpreter.allocate_tensors()
        # the signature carries the names of the exporter; the order of a file's tensors may be any
        key = next(iter(self.interpreter.get_signature_list()), None)
        signature = self.interpreter.get_signature_runner(key)
        inputs, outputs = signature.get_input_details(), signature.get_output_details()
        del signature  # while it lives, the interpreter refuses to run
        self.inputs: Specs = {
            name: (tuple(int(size) for size in item["shape"]), item["dtype"].__name__) for name, item in inputs.items()
        }
        self.indices = {name: int(item["index"]) for name, item in inputs.items()}
        self.output = int(outputs[only_output(list(outputs))]["index"])

    def run(self, inputs: Inputs) -> Any:
        """Logits (1, answers) of the inputs of one question."""
        for name, index in self.indices.items():
            self.interpreter.set_tensor(index, inputs[name])
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)

    def facts(self) -> dict[str, Any]:
        """Which share of the file's operators XNNPACK took over, and in how many pieces.

        The interpreter lists the file's operators and the delegate's together. Those that still run are found
        by walking back from the output, where a delegate's result replaces the operators it stands for.
        """
        nodes = self.interpreter._get_ops_details()
        delegates = {node["index"] for node in nodes if node["op_name"] == "DELEGATE"}
        by_index = {node["index"]: node for node in nodes}
        producer = {}
        for node in sorted(nodes, key=lambda node: node["index"] in delegates):
            for tensor in node["outputs"]:
                producer[int(tensor)] = node["index"]
        running, waiting = set(), [self.output]
        while waiting:
            index = producer.get(waiting.pop())
            if index is not None and index not in running:
                running.add(index)
                waiting += [int(tensor) for tensor in by_index[index]["inputs"]]
        total = len(nodes) - len(delegates)
        covered = 100.0 * (1 - len(running - delegates) / max(total, 1)) if delegates else 0.0
        return {
            "delegate": "XNNPACK" if delegates else "built-in kernels",
            "fully_accelerated": covered == 100.0,
            "coverage_percent": round(covered, 2),
            "partitions": len(delegates),
            "adapter": None,
            "arithmetic": None,
        }

    @staticmethod
    def offered(module: Any) -> list[str]:
        """The delegates that came with the package; whether there is a GPU is another matter."""
        folder = os.path.dirname(module.__file__)
        return ["cpu", "gpu"] if glob.glob(os.path.join(folder, "libLiteRt*GpuAccelerator.so")) else ["cpu"]


class GPULog:
    """What the log of LiteRT's GPU accelerator tells, and nothing else does."""

    def __init__(self, text: str) -> None:
        self.text = "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)

    def find(self, pattern: str) -> Any:
        """The first place that matches, over lines, or None."""
        return re.search(pattern, self.text, re.DOTALL)

    @property
    def adapter(self) -> str | None:
        """The name and the type of the GPU that was taken."""
        found = self.find(r"Selected adapter: ([^\n]+?), arch=[^\n]*?adapterType=([^\n,]+)")
        if found is None:
            return None
        kind = found.group(2).strip()
        return f"{found.group(1)}, {'software' if 'Software' in kind else kind}"

    @property
    def counts(self) -> tuple[int, int] | None:
        """How many operators the GPU takes, and how many there are, where it does not take all."""
        found = self.find(r"(\d+) operations will run on the GPU, and the remaining (\d+) operations")
        return (int(found.group(1)), int(found.group(1)) + int(found.group(2))) if found else None

    def why_not(self, text: str) -> str:
        """Why the accelerator did not take the whole model; `text` where the log does not say."""
        if "No adapters found" in self.text or "No supported adapters" in self.text:
            return "LiteRT finds no GPU that it can use here (it asks Vulkan, through libvulkan.so.1)"
        if self.counts is not None:
            taken, all_of_them = self.counts
            share = f"LiteRT's GPU delegate takes {taken} of {all_of_them} operators"
            refused = self.find(r"operations are not supported by GPU delegate:\n(.*?)\n\d+ operations will run")
            lines = refused.group(1).splitlines() if refused else ()
            kinds = ", ".join(line.strip(" :") for line in lines)
            return f"{share} ({100 * taken / all_of_them:.1f} %)" + (f"; not these: {kinds}" if kinds else "")
        failed = self.find(r"delegate_\w+\.cc:\d+\] Failed to create [^\n]*?: ([A-Z_]+: [^\n]+)")
        return f"LiteRT's GPU delegate cannot take this model: {failed.group(1) if failed else text}"


class LiteRTGPU:
    """LiteRT's GPU accelerator (ML Drift), driven as a compiled model, the interface that it is made for.

    What it does is told by its log alone: which GPU it took, and which operators it refused.
    """

    package = LiteRT.package

    def __init__(self, module: Any, model: str, settings: Settings) -> None:
        if "gpu" not in LiteRT.offered(module):
            raise RunnerError("delegate", f"this {self.package} comes without its GPU accelerator")
        compiled = importlib.import_module("ai_edge_litert.compiled_model")
        accelerators = compiled.HardwareAccelerator.GPU
        if not settings.whole:
            accelerators |= compiled.HardwareAccelerator.CPU
        options = compiled.Options(
            hardware_accelerators=accelerators,
            cpu_options=compiled.CpuOptions(num_threads=settings.threads),
            gpu_options=compiled.GpuOptions(enforce_f32=settings.enforce_fp32),
        )
        self.settings, failure = settings, None
        with captured_log() as log:
            try:
                self.model = compiled.CompiledModel.from_file(model, options=options)
            except RuntimeError as error:
                failure = error
        self.log = GPULog("".join(log))
        if failure is not None:
            raise RunnerError("delegate", self.log.why_not(one_line(failure)))
        self.whole = self.model.is_fully_accelerated()
        if settings.whole and not self.whole:
            raise RunnerError("delegate", self.log.why_not("a part of it would run on the CPU"))
        self.key, names = next(iter(self.model.get_signature_list().items()))
        details = self.model.get_input_tensor_details(self.key)
        self.inputs: Specs = {
            name: (tuple(int(size) for size in details[name]["shape"]), details[name]["dtype"])
            for name in names["inputs"]
        }
        output = only_output(names["outputs"])
        self.shape = tuple(int(size) for size in self.model.get_output_tensor_details(self.key)[output]["shape"])
        self.buffers = {name: self.model.create_input_buffer_by_name(self.key, name) for name in self.inputs}
        self.results = {name: self.model.create_output_buffer_by_name(self.key, name) for name in names["outputs"]}
        self.output = self.results[output]

    def run(self, inputs: Inputs) -> Any:
        """Logits (1, answers) of the inputs of one question."""
        for name, buffer in self.buffers.items():
            buffer.write(inputs[name])
        self.model.run_by_name(self.key, self.buffers, self.results)
        count = 1
        for size in self.shape:
            count *= size
        return self.output.read(count, "float32").reshape(self.shape)

    def facts(self) -> dict[str, Any]:
        """Which GPU ran which share of the model; into how many pieces that fell is not told."""
        taken, all_of_them = self.log.counts or (1, 1)
        return {
            "delegate": "GPU",
            "fully_accelerated": self.whole,
            "coverage_percent": 100.0
            if self.whole
            else round(100 * taken / all_of_them, 2)
            if self.log.counts
            else None,
            "partitions": 1 if self.whole else None,
            "adapter": self.log.adapter,
            "arithmetic": "fp32" if self.settings.enforce_fp32 else None,
        }


class TFLiteRuntime(LiteRT):
    """tflite-runtime, the predecessor of LiteRT with the same interface."""

    module = "tflite_runtime.interpreter"
    package = "tflite-runtime"
    delegates = ("cpu",)

    @staticmethod
    def offered(module: Any) -> list[str]:
        """The CPU: the packages hold no other delegate."""
        return ["cpu"]


ADAPTERS: dict[str, Any] = {"onnxruntime": OnnxRuntime, "litert": LiteRT, "tflite_runtime": TFLiteRuntime}


def having(adapter: Any, module: Any) -> str:
    """What a runtime has here, for the end of a message."""
    return f"; this {adapter.package} has {', '.join(adapter.offered(module))}"


@contextlib.contextmanager
def captured_log() -> Iterator[list[str]]:
    """Catch what libraries write to standard error past Python; it is passed on when the block is left."""
    import tempfile

    caught: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield caught
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            log.seek(0)
            caught.append(log.read().decode(errors="replace"))
            print(caught[0], end="", file=sys.stderr, flush=True)


def vulkan_devices() -> list[tuple[str, str]]:
    """Name and type of every GPU that Vulkan lists, or nothing where there is no Vulkan."""
    import ctypes
    import struct

    try:
        vulkan = ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return []
    # VkInstanceCreateInfo: sType 1, and nothing else set
    create, instance, count = ctypes.create_string_buffer(struct.pack("i60x", 1)), ctypes.c_void_p(), ctypes.c_uint32()
    if vulkan.vkCreateInstance(create, None, ctypes.byref(instance)) != 0:
        return []
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    devices = (ctypes.c_void_p * count.value)()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), devices)
    found = []
    for device in devices[: count.value]:
        # VkPhysicalDeviceProperties, 824 bytes: four numbers of 32 bits, the type, the name in 256 bytes, ...
        properties = ctypes.create_string_buffer(4096)
        vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), properties)
        kind, name = struct.unpack_from("i256s", properties.raw, 16)
        kinds = ("other", "integrated GPU", "discrete GPU", "virtual GPU", "software")
        found.append((name.split(b"\0")[0].decode(errors="replace"), kinds[kind] if 0 <= kind < 5 else "other"))
    vulkan.vkDestroyInstance(instance, None)
    return found


def vulkan_adapter() -> str | None:
    """The only GPU, or all of them where nothing tells which one was taken."""
    return " or ".join(f"{name}, {kind}" for name, kind in vulkan_devices()) or None


def only_output(names: list[str]) -> str:
    """The output called `logits`, or the only one."""
    if "logits" in names:
        return "logits"
    if len(names) == 1:
        return names[0]
    raise RunnerError("model", f"no output called logits among {', '.join(names)}")


def import_runtime(name: str) -> Any:
    """Import a runtime's module; the import is timed apart from the loading of a model."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    adapter = ADAPTERS[name]
    try:
        return importlib.import_module(adapter.module)
    except ImportError as error:
        raise RunnerError("missing_runtime", f"{adapter.package} cannot be imported here: {error}") from error


def check_delegate(name: str, module: Any, delegate: str) -> None:
    """Raise RunnerError unless a runtime can have a delegate of this name."""
    adapter = ADAPTERS[name]
    if delegate not in adapter.delegates:
        import difflib

        near = difflib.get_close_matches(delegate, adapter.delegates, 1, 0.5)
        hint = f"; did you mean {near[0]}" if near else ""
        raise RunnerError("delegate", f"{name} knows no delegate {delegate!r}{hint}{having(adapter, module)}")


def open_model(
    name: str,
    module: Any,
    model: str,
    threads: int,
    delegate: str = "cpu",
    allow_fallback: bool = False,
    enforce_fp32: bool = False,
) -> tuple[Any, str | None]:
    """Load a model file.

    Returns:
        the adapter with `inputs` (name: shape, type), `run(inputs)` and `facts()`; and why something else than the
        whole delegate runs, where `allow_fallback` lets it.

    Raises:
        RunnerError: the file is missing or broken, or the delegate does not take all of it.
    """
    if not os.path.isfile(model):
        raise RunnerError("model", f"the model file {model} does not exist")
    check_delegate(name, module, delegate)

    def load(settings: Settings) -> Any:
        try:
            return (LiteRTGPU if settings.delegate == "gpu" else ADAPTERS[name])(module, model, settings)
        except RunnerError:
            raise
        except Exception as error:  # every runtime has its own exceptions for a broken file
            where, package = "" if settings.delegate == "cpu" else f" on {settings.delegate}", ADAPTERS[name].package
            if "RequestAdapter" in str(error):
                raise RunnerError("delegate", f"{package} finds no GPU that it can use here") from error
            text = f"{package} cannot open {model}{where}: {one_line(error)}"
            raise RunnerError("delegate" if where else "model", text) from error

    try:
        return load(Settings(threads, delegate, True, enforce_fp32)), None
    except RunnerError as error:
        if error.kind != "delegate" or not allow_fallback or delegate == "cpu":
            raise
        reason = str(error)
    with contextlib.suppress(RunnerError):
        return load(Settings(threads, delegate, False, enforce_fp32)), reason
    return load(Settings(threads)), reason


def fit(name: str, array: Any, shape: tuple[Any, ...], kind: str) -> Any:
    """Stacked inputs (n, ...) as the model wants them; a picture is turned from NCHW to NHWC if need be.

    Raises:
        RunnerError: the type or the shape is another one.
    """
    if array.dtype.name != kind:
        raise RunnerError("inputs", f"input {name!r} should be {kind}, the questions have {array.dtype.name}")

    def agrees(given: tuple[int, ...]) -> bool:
        fixed = [axis for axis in range(1, len(shape)) if isinstance(shape[axis], int) and shape[axis] >= 0]
        return len(given) == len(shape) and all(given[axis] == shape[axis] for axis in fixed)

    if agrees(array.shape):
        return array
    if array.ndim == 4 and agrees(tuple(array.shape[axis] for axis in (0, 2, 3, 1))):
        return array.transpose(0, 2, 3, 1).copy()
    have = [1, *array.shape[1:]]
    raise RunnerError("inputs", f"input {name!r} should have the shape {list(shape)}, the questions have {have}")


def select(specs: Specs, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays that the model wants, each fitted; raises RunnerError when one is missing."""
    missing = [name for name in specs if name not in arrays]
    if missing:
        have = ", ".join(arrays)
        raise RunnerError("inputs", f"the model wants {', '.join(missing)}; the questions have {have}")
    return {name: fit(name, arrays[name], shape, kind) for name, (shape, kind) in specs.items()}


# What the machine is, and the state it is in


def read(path: str) -> str | None:
    """The text of one of the kernel's files, or None."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip("\0 \n")
    except OSError:
        return None


def read_number(path: str) -> float | None:
    """The number in one of the kernel's files, or None."""
    try:
        return float(read(path) or "")
    except ValueError:
        return None


def allowed_cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def memory(field: str) -> float | None:
    """A field of this process's memory in MB: `VmRSS` now, `VmHWM` at its peak."""
    for line in (read("/proc/self/status") or "").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def forget_peak() -> None:
    """Let the peak memory start anew, so that reading the questions is not counted as the model's."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")


def core_times() -> tuple[float, float] | None:
    """Seconds that the cores this process may use were busy, and that the hypervisor stole from them."""
    names = {f"cpu{core}" for core in allowed_cores()}
    busy, stolen, tick = 0, 0, os.sysconf("SC_CLK_TCK")
    lines = [line.split() for line in (read("/proc/stat") or "").splitlines()]
    for fields in lines:
        if fields and fields[0] in names:
            user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in fields[1:9])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return (busy / tick, stolen / tick) if lines else None


def waited_seconds() -> float | None:
    """Seconds that the threads of this process were ready but had no core."""
    texts = [read(path) for path in glob.glob("/proc/self/task/*/schedstat")]
    values = [int(text.split()[1]) for text in texts if text]
    return sum(values) / 1e9 if values else None


def known(values: Iterable[float | None]) -> list[float]:
    """The values that could be read."""
    return [value for value in values if value is not None]


def clock_mhz(cores: Iterable[int]) -> float | None:
    """The mean of the clocks of some cores now, or None."""
    path = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    clocks = known(read_number(path.format(core)) for core in cores)
    return sum(clocks) / len(clocks) / 1000 if clocks else None


def temperature_c() -> float | None:
    """The temperature of the hottest zone now, or None."""
    degrees = known(read_number(path) for path in glob.glob("/sys/class/thermal/thermal_zone*/temp"))
    return max((value / 1000 for value in degrees if 0 < value < 200_000), default=None)


def throttled_now() -> bool | None:
    """Whether the firmware of a Raspberry Pi holds its clock back now, or None."""
    # the name of the system on a chip varies
    firmware = next(map(read, glob.glob("/sys/devices/platform/soc*/soc*:firmware/get_throttled")), None)
    return bool(int(firmware, 16) & 0xF) if firmware else None


def turbo_state() -> bool | None:
    """Whether clocks above the nominal one are allowed."""
    no_turbo = read("/sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = read("/sys/devices/system/cpu/cpufreq/boost")
    if no_turbo is not None:
        return no_turbo == "0"
    return None if boost is None else boost == "1"


def host_state() -> dict[str, Any]:
    """What may spoil a measurement, as it is now; what cannot be read is null."""
    cpu = "/sys/devices/system/cpu/"
    policies = [f"{cpu}cpu{core}/cpufreq/" for core in allowed_cores()]
    governors = sorted({read(path + "scaling_governor") or "" for path in policies} - {""})
    throttles = known(read_number(path) for path in glob.glob(cpu + "cpu*/thermal_throttle/core_throttle_count"))
    quota = [line.split() for line in (read("/sys/fs/cgroup/cpu.stat") or "").splitlines()]
    stopped = [int(fields[1]) / 1e6 for fields in quota if fields[0] == "throttled_usec"]
    load = read("/proc/loadavg")
    times = core_times()
    return {
        "monotonic_s": time.monotonic(),
        "cores": len(policies),
        "governor": "+".join(governors) or None,
        "clock_mhz": clock_mhz(allowed_cores()),
        "turbo": turbo_state(),
        "load_average": float(load.split()[0]) if load else None,
        "temperature_c": temperature_c(),
        "throttle_count": sum(throttles) if throttles else None,
        "throttled_now": throttled_now(),
        "quota_stopped_s": stopped[0] if stopped else None,
        "busy_s": times[0] if times else None,
        "stolen_s": times[1] if times else None,
        "waited_s": waited_seconds(),
        "own_s": time.process_time(),
    }


FEATURES = re.compile(r"(avx|amx|asimd|sve).*|sse4_2|fma|f16c|fphp|i8mm|bf16|sme2?")


def package_version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def version_of(name: str, module: Any) -> str:
    """The version of an imported runtime; some of its builds are packages of another name."""
    return str(package_version(ADAPTERS[name].package) or getattr(module, "__version__", "unknown"))


def sensors() -> list[str]:
    """What this machine measures itself by: temperatures, and power or current, as the kernel names them."""
    found = set()
    for path in glob.glob("/sys/class/thermal/thermal_zone*/temp"):
        if read_number(path) is not None:
            found.add("temperature " + (read(os.path.join(os.path.dirname(path), "type")) or "unnamed"))
    for path in glob.glob("/sys/class/hwmon/hwmon*/power*_input") + glob.glob("/sys/class/hwmon/hwmon*/curr*_input"):
        found.add("power " + (read(os.path.join(os.path.dirname(path), "name")) or "unnamed"))
    for path in glob.glob("/sys/class/power_supply/*/current_now"):
        found.add("battery " + os.path.basename(os.path.dirname(path)))
    if os.path.isdir("/sys/class/powercap/intel-rapl:0"):
        found.add("energy intel-rapl")
    return sorted(found)


def disk_free() -> float | None:
    """MB that this user may still write where this runs, or None."""
    with contextlib.suppress(OSError, AttributeError):
        disk = os.statvfs(".")
        return disk.f_bavail * disk.f_frsize / 1e6
    return None


def probe() -> dict[str, Any]:
    """What this machine is, and the versions of what is installed for this Python."""
    facts: dict[str, str] = {}
    for line in (read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip().lower(), value.strip())
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    part = " ".join(facts[key] for key in ("cpu implementer", "cpu part") if key in facts)
    lines = (read("/proc/meminfo") or "").splitlines()
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemTotal")]
    highest = "/sys/devices/system/cpu/cpu{}/cpufreq/cpuinfo_max_freq"
    maximum = [read_number(highest.format(core)) for core in allowed_cores()]
    capacity = [read_number(f"/sys/devices/system/cpu/cpu{core}/cpu_capacity") for core in allowed_cores()]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "board": read("/sys/firmware/devicetree/base/model"),
        "cpu_model": facts.get("model name") or part or None,
        "features": sorted(flag for flag in flags if FEATURES.fullmatch(flag)),
        "cores": os.cpu_count(),
        "core_mask": hex(sum(1 << core for core in allowed_cores())),
        "core_maximum_mhz": [value / 1000 if value is not None else None for value in maximum],
        "core_capacity": capacity,
        "memory_mb": int(kilobytes[0]) * 1024 / 1e6 if kilobytes else None,
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        "python": platform.python_version(),
        "numpy": package_version("numpy"),
        "runtimes": {name: package_version(adapter.package) for name, adapter in ADAPTERS.items()},
        "sensors": sensors(),
        "disk_free_mb": disk_free(),
        "wall_clock_s": time.time(),
        "host": host_state(),
    }


# Modes


def load_questions(path: str) -> tuple[dict[str, Any], int]:
    """The stacked inputs of a `questions.npz` (labels, texts and worths left out) and how many there are."""
    import numpy

    try:
        with numpy.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name not in ("labels", "texts", "worth")}
    except Exception as error:
        raise RunnerError("inputs", f"cannot read the questions in {path}: {one_line(error)}") from error
    counts = {len(array) for array in arrays.values() if array.ndim}
    if len(counts) != 1 or 0 in counts or any(array.ndim == 0 for array in arrays.values()):
        raise RunnerError("inputs", f"{path} does not hold one and the same number of rows for every input")
    return arrays, counts.pop()


class Loaded:
    """A model with its questions, and what loading it cost."""

    def __init__(self, job: dict[str, Any]) -> None:
        name, threads = job["runtime"], job["threads"]
        start = time.perf_counter()
        module = import_runtime(name)
        import_ms = (time.perf_counter() - start) * 1e3
        arrays, self.count = load_questions(job["inputs"])
        gc.collect()
        forget_peak()
        before = memory("VmRSS")
        start = time.perf_counter()
        options = {"allow_fallback": bool(job.get("allow_fallback")), "enforce_fp32": bool(job.get("enforce_fp32"))}
        self.model, fell_back = open_model(name, module, job["model"], threads, job.get("delegate", "cpu"), **options)
        load_ms = (time.perf_counter() - start) * 1e3
        arrays = select(self.model.inputs, arrays)
        rows = range(self.count)
        self.rows = [{key: array[row : row + 1] for key, array in arrays.items()} for row in rows]
        start = time.perf_counter()
        self.first = self.run(0)
        first_ms = (time.perf_counter() - start) * 1e3
        self.costs = {
            "runtime": name,
            "runtime_version": version_of(name, module),
            "threads": threads,
            "import_ms": import_ms,
            "load_ms": load_ms,
            "first_inference_ms": first_ms,
            "baseline_rss_mb": before,
            "fell_back": fell_back,
            **self.model.facts(),
        }

    def run(self, row: int) -> Any:
        """Logits of one question; raises RunnerError when the runtime fails."""
        try:
            return self.model.run(self.rows[row])
        except Exception as error:
            raise RunnerError("run", f"inference failed on question {row}: {one_line(error)}") from error

    def result(self) -> dict[str, Any]:
        """What is reported in every mode; call it last, for the peak of the memory."""
        import numpy

        peak, before = memory("VmHWM"), self.costs["baseline_rss_mb"]
        model = peak - before if peak is not None and before is not None else None
        return {
            "ok": True,
            **self.costs,
            "peak_rss_mb": peak,
            "model_rss_mb": model,
            "python": platform.python_version(),
            "numpy": numpy.__version__,
            "machine": platform.machine(),
        }


def save(path: str, array: Any) -> None:
    """Write an array as .npy; raises RunnerError when the disk refuses."""
    import numpy

    try:
        with open(path, "wb") as stream:
            numpy.save(stream, array)
    except OSError as error:
        raise RunnerError("write", f"cannot write {path}: {error.strerror}") from error


def run_logits(job: dict[str, Any]) -> dict[str, Any]:
    """Mode `logits`: every question once."""
    import numpy

    loaded = Loaded(job)
    logits = numpy.concatenate([loaded.run(row) for row in range(loaded.count)]).astype(numpy.float32)
    save(job["output"], logits)
    return {**loaded.result(), "n": len(logits)}


def mark(number: int) -> None:
    """Tell an emulator that counts instructions that a query begins (0) or ends (1).

    The marker is the system call getpriority(12345, number): it fails everywhere, and nothing else makes it.
    """
    try:
        os.getpriority(MARKER, number)
    except OSError:
        return


WATCH = "--watch"
WATCH_EVERY_S = 0.5


class Watch:
    """Looks at the clock, the temperature and throttling twice a second from another process, on another core.

    Where there is no core to spare it does not look.
    """

    def __init__(self, threads: int) -> None:
        import subprocess

        self.process: subprocess.Popen[str] | None = None
        own = allowed_cores()
        others = [core for core in range(os.cpu_count() or 1) if core not in own]
        if not hasattr(os, "sched_setaffinity") or (not others and len(own) <= threads):
            return
        argv = [sys.executable, os.path.abspath(__file__), WATCH, str((others or own)[-1]), ",".join(map(str, own))]
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self) -> None:
        """Begin to look."""
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.write("\n")
                self.process.stdin.flush()

    def end(self) -> dict[str, Any] | None:
        """What was seen, or None where nothing was."""
        if self.process is None:
            return None
        import subprocess

        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            seen: dict[str, Any] = json.loads(self.process.communicate(timeout=30)[0])
            return seen
        self.process.kill()
        return None


def watch(core: int, cores: list[int]) -> dict[str, Any]:
    """Look at some cores until the input ends, from one core if that may be used: what `Watch` starts."""
    import selectors

    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core})
    sys.stdin.readline()
    clocks: list[float | None] = []
    degrees: list[float | None] = []
    throttled: list[bool | None] = []
    with selectors.DefaultSelector() as ending:
        ending.register(sys.stdin, selectors.EVENT_READ)
        while not clocks or not ending.select(WATCH_EVERY_S):
            clocks.append(clock_mhz(cores))
            degrees.append(temperature_c())
            throttled.append(throttled_now())
    flags = [flag for flag in throttled if flag is not None]
    return {
        "looks": len(clocks),
        "clock_minimum_mhz": min(known(clocks), default=None),
        "temperature_maximum_c": max(known(degrees), default=None),
        "throttled": any(flags) if flags else None,
    }


def run_time(job: dict[str, Any]) -> dict[str, Any]:
    """Mode `time`: one query after another, each from the inputs as arrays to the logits as an array.

    With `"markers": true` in the job, `mark` is called right before and right after each of these queries.
    """
    import numpy

    watching = Watch(job["threads"]) if job.get("watch") else None
    loaded = Loaded(job)
    rows, run, clock, markers = loaded.rows, loaded.model.run, time.perf_counter_ns, job.get("markers", False)
    done, start = 0, time.perf_counter()
    while done < job["warmup_queries"] or time.perf_counter() - start < job["warmup_seconds"]:
        loaded.run(done % loaded.count)
        done += 1
    samples = packed("q")  # 8 bytes each, so that a long run does not show in the memory
    queries, count = job["minimum_queries"], loaded.count
    shortest, longest = int(job["minimum_seconds"] * 1e9), int(job["maximum_seconds"] * 1e9)
    gc.collect()
    gc.disable()
    if watching is not None:
        watching.start()
    before = host_state()
    began = now = clock()
    while (len(samples) < queries or now - began < shortest) and now - began < longest:
        inputs = rows[len(samples) % count]
        if markers:
            mark(0)
        start_ns = clock()
        run(inputs)
        now = clock()
        if markers:
            mark(1)
        samples.append(now - start_ns)
    after = host_state()
    gc.enable()
    seen = watching.end() if watching is not None else None
    save(job["samples"], numpy.frombuffer(samples, numpy.int64))
    window = {
        "watched": seen,
        "loop_started_ns": began,
        "loop_ended_ns": now,
        "host_before": before,
        "host_after": after,
    }
    return {**loaded.result(), "n": len(samples), **window}


def run_peak(job: dict[str, Any]) -> dict[str, Any]:
    """Mode `peak`: the best of many fp32 products of two square matrices, in GFLOP/s."""
    import numpy

    generator = numpy.random.default_rng(0)
    left, right = (generator.random((MATRIX_SIZE, MATRIX_SIZE), numpy.float32) for _ in range(2))
    product, best = numpy.empty_like(left), float("inf")
    numpy.matmul(left, right, out=product)
    stop = time.perf_counter() + MATRIX_SECONDS
    while time.perf_counter() < stop:
        start = time.perf_counter()
        numpy.matmul(left, right, out=product)
        best = min(best, time.perf_counter() - start)
    gflops = 2 * MATRIX_SIZE**3 / best / 1e9
    return {"ok": True, "gflops": gflops, "threads": job["threads"], "numpy": numpy.__version__}


def run_probe(job: dict[str, Any]) -> dict[str, Any]:
    """Mode `probe`: what this machine is; a runtime that the job names is imported, and says which delegates it has."""
    name, found = job.get("runtime"), probe()
    if name:
        module = import_runtime(name)
        found["runtimes"][name] = version_of(name, module)
        found["delegates"] = ADAPTERS[name].offered(module)
    return {"ok": True, **found}


MODES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "logits": run_logits,
    "time": run_time,
    "peak": run_peak,
    "probe": run_probe,
}


def one_line(error: BaseException) -> str:
    """An exception in one line without its traceback."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def pin(mask: str | None) -> None:
    """Keep this process on the cores of a mask such as `0xf0`."""
    if mask is None:
        return
    bits = int(mask, 16)
    wanted = {core for core in range(bits.bit_length()) if bits >> core & 1}
    offered = allowed_cores()
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(0, wanted)
    if set(allowed_cores()) != wanted:
        raise RunnerError("job", f"cannot run on the cores of mask {mask}; this device offers {offered}")


def end_with(parent: str | None) -> None:
    """Let the kernel end this process with the process that started it, however that ends."""
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != int(parent):
        sys.exit(3)


def run_job(path: str) -> dict[str, Any]:
    """Read and run a job; a failure becomes a result that says so."""
    try:
        try:
            with open(path, encoding="utf-8") as stream:
                job = json.load(stream)
            mode, threads = MODES[job["mode"]], int(job.get("threads", 1))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunnerError("job", f"the job {path} is not usable: {one_line(error)}") from error
        if threads < 1 or (job["mode"] in ("logits", "time") and job.get("runtime") not in ADAPTERS):
            raise RunnerError("job", f"no such runtime or threads: {job.get('runtime')!r}, {threads}")
        job["threads"] = threads
        for variable in THREAD_VARIABLES:  # before numpy and the runtimes read them
            os.environ[variable] = str(threads)
        pin(job.get("core_mask"))
        packages = job.get("packages")
        if packages and os.path.isdir(packages):  # before what the device has itself
            sys.path.insert(0, os.path.abspath(packages))
            # compiled once, beside the packages: without that, every process compiles them again
            sys.pycache_prefix, sys.dont_write_bytecode = os.path.abspath(os.path.join(packages, "compiled")), False
        return mode(job)
    except RunnerError as error:
        return {"ok": False, "error": str(error), "kind": error.kind}
    except MemoryError:
        return {"ok": False, "error": "the memory of this device does not suffice", "kind": "run"}
    except KeyError as error:
        return {"ok": False, "error": f"the job lacks {error}", "kind": "job"}
    except Exception as error:
        return {"ok": False, "error": f"{type(error).__name__}: {one_line(error)}", "kind": "run"}


def main() -> int:
    """Run the job named on the command line and print its result."""
    if len(sys.argv) == 4 and sys.argv[1] == WATCH:
        print(json.dumps(watch(int(sys.argv[2]), [int(core) for core in sys.argv[3].split(",")])), flush=True)
        return 0
    if len(sys.argv) != 2:
        print("usage: python runner.py JOB.json", file=sys.stderr)
        return 2
    end_with(os.environ.get("EDGEVQA_PARENT"))
    result = run_job(sys.argv[1])
    # a library may have left a line unfinished
    print("\n" + RESULT_MARK + json.dumps(result), flush=True)
    return 0 if result["ok"] else 3


if __name__ == "__main__":
    sys.exit(main())
