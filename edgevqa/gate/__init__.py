"""The gate: an artifact is timed only after it answered as the PyTorch submodel does, in its runtime, on its device."""

from edgevqa.gate.gate import quick_gate, quick_gates
from edgevqa.gate.score import evaluate_artifact
from edgevqa.gate.verdict import FAILED, PASSED, UNSCORED, Verdict, read_verdict

__all__ = [
    "FAILED",
    "PASSED",
    "UNSCORED",
    "Verdict",
    "evaluate_artifact",
    "quick_gate",
    "quick_gates",
    "read_verdict",
]
