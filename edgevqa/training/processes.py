"""The processes of one training run: started by torchrun on one machine or several; otherwise a run is one process."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as group
from torch import nn

from edgevqa.errors import EnvironmentFailure, UsageError

PATIENCE = datetime.timedelta(hours=2)
"""How long processes wait for each other: the first one evaluates while the others wait."""


@dataclass(frozen=True)
class Processes:
    """This process among those of its run.

    Args:
        rank: its place, from 0; the first one writes files, tells and evaluates.
        count: how many there are.
        place: its place among those of its machine, and so the GPU that it takes.
    """

    rank: int = 0
    count: int = 1
    place: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[nn.Parameter], loss: float) -> float:
        """Replace gradients by their sums over all processes, in one reduction; returns the sum of the losses."""
        if self.count == 1:
            return loss
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), gradients[0].new_tensor([loss])])
        with _explained():
            group.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, flat[:-1].split(sizes), strict=True):
            gradient.copy_(total.view_as(gradient))
        return float(flat[-1])

    def share(self, content: bytes, device: torch.device) -> bytes:
        """The first process's bytes, in all of them."""
        size = torch.tensor([len(content)], device=device)
        with _explained():
            group.broadcast(size, 0)
            shared = torch.empty(int(size), dtype=torch.uint8, device=device)
            if self.first:
                shared.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            group.broadcast(shared, 0)
        return shared.cpu().numpy().tobytes()

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """On every machine one process does the block before its others, which find what it made."""
        if self.place:
            self.wait()
        yield
        if not self.place:
            self.wait()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            with _explained():
                group.barrier()


ALONE = Processes()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn the failure of a collective operation into a line that says what happened."""
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())[:200]
        raise EnvironmentFailure(
            f"the processes of this training run have lost each other ({text}); start it again, it goes on from there"
        ) from error


def choose_device(name: str, place: int = 0) -> torch.device:
    """The device "cpu", "cuda", or "auto" (a GPU where there is one).

    Args:
        name: of the device.
        place: of this process among those of its machine: each takes a GPU of its own.

    Raises:
        UsageError: there is no GPU, or none for this process.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name == "cuda" and not count:
        raise UsageError("--device cuda: PyTorch sees no GPU here; use --device cpu")
    if name == "cuda" and place >= count:
        raise UsageError(f"{place + 1} or more processes, but only {count} GPUs here; start one process a GPU")
    return torch.device(name, place) if name == "cuda" else torch.device(name)


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """This process among those that torchrun started with it, and the device that it computes on.

    Args:
        device: see `choose_device`.

    Raises:
        UsageError: there is no such device.
        EnvironmentFailure: the other processes are not reached.
    """
    if not group.is_available() or not group.is_torchelastic_launched():
        yield ALONE, choose_device(device)
        return
    processes = Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]))
    chosen = choose_device(device, processes.place)
    on_gpu = chosen.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(chosen)
    with _explained():
        group.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    yield processes, chosen
    processes.wait()
    group.destroy_process_group()  # not after an error, when the others may be gone
