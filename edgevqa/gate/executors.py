"""Where the questions of an evaluation are answered: processes of this machine, or a Dask cluster of any size.

Both are `concurrent.futures.Executor`s, so that what uses them is one piece of code.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

from edgevqa.errors import EnvironmentFailure, MissingExtra, UsageError

WORKERS = 2
AUTO, PROCESSES = "auto", "none"
PATIENCE_S = 20
"""How long a scheduler may take to answer."""


@contextlib.contextmanager
def open_executor(scheduler: str = AUTO, workers: int = WORKERS) -> Iterator[Executor]:
    """An executor whose tasks run in other processes; what is waiting when the block ends is cancelled.

    Args:
        scheduler: the address of a Dask scheduler (`tcp://host:8786`), whose workers have this edgevqa; "auto": a Dask
            cluster on this machine where the extra `dask` is installed, else as "none"; "none": processes without Dask.
        workers: processes on this machine.

    Raises:
        UsageError: the scheduler is no address.
        MissingExtra: an address is given, and Dask is not installed.
        EnvironmentFailure: the scheduler is not reached.
    """
    has_dask = importlib.util.find_spec("distributed") is not None
    if scheduler == PROCESSES or (scheduler == AUTO and not has_dask):
        # Forked children of a process with runtimes' threads may hang; spawned ones start clean.
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
        return
    if scheduler != AUTO and "://" not in scheduler:
        raise UsageError(
            f"{scheduler!r} is no scheduler; give an address such as tcp://192.168.1.5:8786, {AUTO}, or {PROCESSES}"
        )
    if not has_dask:
        raise MissingExtra("distributed", "dask")
    with _dask(scheduler, workers) as executor:
        yield executor


@contextlib.contextmanager
def _dask(scheduler: str, workers: int) -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    # Its notes about workers that come and go are not for the terminal; what fails is raised.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        try:
            if scheduler == AUTO:
                with _deaf_to_interrupts():
                    cluster = LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        memory_limit=None,
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                    )
                client = stack.enter_context(Client(stack.enter_context(cluster), timeout=PATIENCE_S))
            else:
                client = stack.enter_context(Client(scheduler, timeout=PATIENCE_S))
        except (OSError, ValueError) as error:
            text = " ".join(str(error).split())[:200]
            raise EnvironmentFailure(f"the Dask scheduler {scheduler} is not reached: {text}") from error
        if not client.scheduler_info()["workers"]:
            raise EnvironmentFailure(f"the Dask scheduler {scheduler} has no workers; start some with: dask worker")
        executor = client.get_executor(retries=2)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in the block ignore Ctrl-C, which a terminal sends to all: this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
