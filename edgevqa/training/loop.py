"""The training loop: resumable to the exact step, on a CPU, a GPU, or several of either."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgevqa.errors import InputError, UsageError
from edgevqa.progress import Progress, Silent
from edgevqa.storage import read_json, write_bytes, write_json
from edgevqa.training.batches import Batches, Questions, targets, to_tensors, trim
from edgevqa.training.processes import ALONE, Processes
from edgevqa.training.recipe import Recipe
from edgevqa.training.stages import Stage

if TYPE_CHECKING:
    from edgevqa.models.families import Network

Evaluate = Callable[[int], str]
"""Called at milestones with the steps done; returns a line for the log."""


@dataclass(frozen=True)
class Milestones:
    """How often a run saves its state, tells its loss and is evaluated, in steps."""

    save: int = 250
    tell: int = 50
    evaluate: int = 500


def _identity(stage: Stage, recipe: Recipe, split: Questions) -> str:
    """A hash of what must not change between the parts of one run; how a batch is divided may."""
    described = {
        "stage": type(stage).__name__,
        "recipe": {name: value for name, value in recipe.to_dict().items() if name != "accumulation"},
        "config": stage.model.config.to_dict(),
        "questions": len(split),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _restore(
    content: bytes, path: Path, identity: str, stage: Stage, optimizers: Sequence[torch.optim.Optimizer]
) -> int:
    """Set model and optimizers to a saved state and return its step; `path` is what an error names."""
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} is not a readable training state ({error}); remove it to start again") from error
    missing = {"identity", "step", "model", "extra", "optimizers"} - (
        state.keys() if isinstance(state, dict) else set()
    )
    if missing:
        raise InputError(
            f"{path} is no training state: it lacks {', '.join(sorted(missing))}; remove it to start again"
        )
    if state["identity"] != identity:
        raise UsageError(
            f"{path} is the state of a run with other settings; repeat its command, or choose another --out folder"
        )
    stage.model.load_state_dict(state["model"])
    stage.extra.load_state_dict(state["extra"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def _state(identity: str, step: int, stage: Stage, optimizers: Sequence[torch.optim.Optimizer]) -> bytes:
    """What `_restore` reads."""
    buffer = io.BytesIO()
    state = {
        "identity": identity,
        "step": step,
        "model": stage.model.state_dict(),
        "extra": stage.extra.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    torch.save(state, buffer)
    return buffer.getvalue()


def _begin(
    path: Path,
    identity: str,
    stage: Stage,
    optimizers: Sequence[torch.optim.Optimizer],
    processes: Processes,
    device: torch.device,
) -> int:
    """Give all processes the first one's state, saved or fresh; returns the step at which the run goes on."""
    step = 0
    if processes.first and path.exists():
        step = _restore(path.read_bytes(), path, identity, stage, optimizers)
    if processes.count > 1:
        own = _state(identity, step, stage, optimizers) if processes.first else b""
        step = _restore(processes.share(own, device), path, identity, stage, optimizers)
    return step


def make_optimizers(model: Network, extra: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimizers of a recipe: AdamW with BST's betas and eps, and Muon for the layers' matrices if asked."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = recipe.optimizer == "muon" and name.startswith(("encoder.", "decoder.")) and parameter.dim() == 2
        (matrices if inside else others).append(parameter)
    others.extend(extra.parameters())
    adamw = torch.optim.AdamW(
        others, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-9, weight_decay=recipe.weight_decay, fused=True
    )
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(
        matrices, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [adamw, muon]


def train(
    stage: Stage,
    recipe: Recipe,
    split: Questions,
    folder: Path,
    *,
    name: str,
    device: torch.device | None = None,
    processes: Processes = ALONE,
    milestones: Milestones | None = None,
    evaluate: Evaluate | None = None,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Train a stage to its end and return the weights, on the CPU.

    A run that was stopped goes on at the step of its last saved state and makes the same weights as one that was
    not: the order of the questions, dropout and the choice of submodels depend on seed and step alone. Several
    processes share the pieces of every batch, and make the same weights as one would, but for rounding.

    Args:
        stage: what a step does.
        recipe: how many steps, how fast.
        split: the training questions.
        folder: where `<name>.state.pt` and `<name>.history.json` are kept.
        name: of the stage, for the files and the log.
        device: where to train.
        processes: this process among those of the run; the first one alone touches `folder`, evaluates and tells.
        milestones: how often to save, tell and evaluate.
        evaluate: called every `milestones.evaluate` steps and at the end.
        tell: receives a line of progress now and then.
        progress: receives every step.

    Raises:
        UsageError: the folder holds the state of a run with other settings, or there are more processes than
            questions in a batch.
        InputError: the state is unreadable.
        EnvironmentFailure: another process of the run has ended.
    """
    device = device or torch.device("cpu")
    milestones = milestones or Milestones()
    progress = progress if progress and processes.first else Silent()
    model = stage.model.to(device).train()
    stage.extra.to(device)
    optimizers = make_optimizers(model, stage.extra, recipe)
    identity = _identity(stage, recipe, split)
    state_path = folder / f"{name}.state.pt"
    first = _begin(state_path, identity, stage, optimizers, processes, device)
    batches = Batches(split, recipe.batch, recipe.seed)
    answers = stage.model.config.answer_count
    history_path = folder / f"{name}.history.json"
    history = read_json(history_path) if processes.first and history_path.exists() else []
    history = [entry for entry in history if entry["step"] <= first]
    progress.start(f"training {name}", recipe.steps)
    if first:
        progress.step(f"{name}: resumed at step {first}", first)
    started, losses = time.monotonic(), []
    for step in range(first, recipe.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
        model.zero_grad()
        stage.extra.zero_grad()
        loss = 0.0
        pieces = batches.pieces(step, recipe.accumulation, processes.count)
        for number in range(processes.rank, len(pieces), processes.count):
            torch.manual_seed((recipe.seed * 1_000_003 + step + (number << 53)) % 2**64)
            indices = pieces[number]
            inputs = to_tensors(trim(split.model_inputs(indices)), device)
            share = len(indices) / batches.batch
            wanted = targets(split, indices, answers).to(device)
            loss += stage.backward(step, indices, inputs, wanted, share)
        losses.append(processes.sum_gradients([*model.parameters(), *stage.extra.parameters()], loss))
        for optimizer in optimizers:
            optimizer.step()
        done = step + 1
        last = done == recipe.steps
        if done % milestones.tell == 0 or last:
            loss = sum(losses) / len(losses)
            rate = (done - first) * batches.batch / (time.monotonic() - started)
            left = (recipe.steps - done) * batches.batch / rate
            line = f"{name} step {done}/{recipe.steps}, loss {loss:.4f}, {rate:.0f} questions/s, "
            line += f"{left / 60:.0f} min of {name} left"
            progress.step(line, 0)
            if processes.first:
                tell(line)
            history.append({"step": done, "loss": loss, "rate": recipe.rate(step)})
            losses = []
        progress.step("", 1)
        if not processes.first:
            continue
        if evaluate is not None and (done % milestones.evaluate == 0 or last):
            tell(f"{name} step {done}: {evaluate(done)}")
            model.train()
        if done % milestones.save == 0 or last:
            write_bytes(state_path, _state(identity, done, stage, optimizers))
            write_json(history_path, history)
    progress.finish()
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
