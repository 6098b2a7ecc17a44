"""Several processes that train one run, usually one a host: how they find each other, and who speaks for all of them.

Every process runs the same command and reads the same folders. Process 0 alone writes records and prints; arrays that
lie on the devices of several processes are computed, saved and restored by all of them together.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from batch import InputError

LONGEST_WAIT = 24 * 3600
"""Seconds that the others wait while process 0 prepares the data."""


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Connects this process with the others of its run; without a coordinator it is alone. To be called first of all.

    The coordinator is the HOST:PORT of process 0, or "auto" where JAX can tell all three (SLURM, Open MPI, Kubernetes,
    TPU pods). Raises InputError where it cannot, or where they do not fit together.
    """
    if coordinator is None:
        for flag, value in (("num_processes", num_processes), ("process_id", process_id)):
            if value is not None:
                raise InputError(f"--{flag}={value}: needs --coordinator, the HOST:PORT of process 0.")
        return
    if coordinator == "auto":
        _join_detected()
        return
    if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
        raise InputError(
            f"--coordinator={coordinator}: needs --num_processes and a --process_id below it, from 0 on; they are "
            f"{num_processes} and {process_id}."
        )
    if not coordinator.rpartition(":")[2].isdigit():
        raise InputError(f"--coordinator={coordinator}: has no port; write HOST:PORT.")
    jax.distributed.initialize(coordinator, num_processes, process_id)


def _join_detected() -> None:
    try:
        jax.distributed.initialize()
    except ValueError as error:  # what JAX needs to know and could not find out
        raise InputError(
            "--coordinator=auto: JAX found no SLURM, Open MPI, Kubernetes or TPU pod around it; give HOST:PORT, "
            "--num_processes and --process_id."
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def first_before_others(purpose: str) -> Iterator[None]:
    """Process 0 goes through the block when all have reached it, the others when it is through."""
    everybody = set(range(jax.process_count()))
    meet = lambda where: ocp.multihost.sync_global_processes(  # noqa: E731
        f"{purpose}: {where}", timeout=LONGEST_WAIT, processes=everybody
    )
    meet("all are here")
    if not is_first():
        meet("the first is done")
    yield
    if is_first():
        meet("the first is done")


class Silent(contextlib.AbstractContextManager):
    """Stands for the records and the progress of a run in every process but the first."""

    def __exit__(self, *_: object) -> None: ...

    def write(self, *_: Any, **__: Any) -> None: ...

    def update(self, *_: Any, **__: Any) -> None: ...

    def note(self, *_: Any, **__: Any) -> None: ...

    def warn(self, *_: Any, **__: Any) -> None: ...
