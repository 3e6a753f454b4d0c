"""Finding and joining the other processes of a run: named by flags, by variables, or by what started this process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from vae_jax.devices.processes import check_equal, is_first
from vae_jax.types import UserError

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


class Cluster(NamedTuple):
    """Which processes take part.

    Attributes:
      by: what named them, in words.
      coordinator: the address of process 0, HOST:PORT; like the other two None where JAX finds them by itself.
      num_processes: how many there are.
      process_id: which of them this is.
    """

    by: str
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def find(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    environ: Mapping[str, str] = os.environ,
) -> Cluster | None:
    """The cluster that this process belongs to: by the flags, by JAX_* variables, by what started it; None for none.

    Args:
      coordinator, num_processes, process_id: the flags; all or none.
      environ: the environment: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (or the index that
        Kubernetes gives to a pod of an indexed job), Slurm's and Open MPI's variables, TPU hosts.

    Raises:
      UserError: some of the three are missing, or they cannot be.
    """
    flags = {"--coordinator": coordinator, "--num_processes": num_processes, "--process_id": process_id}
    if any(value is not None for value in flags.values()):
        return _check("flags", flags)
    if "JAX_COORDINATOR_ADDRESS" in environ:
        rank = environ.get("JAX_PROCESS_ID", environ.get("JOB_COMPLETION_INDEX"))
        names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        values = (environ["JAX_COORDINATOR_ADDRESS"], environ.get("JAX_NUM_PROCESSES"), rank)
        return _check("variables", dict(zip(names, values)))
    if _count(environ, "SLURM_NTASKS") > 1 and "SLURM_STEP_NODELIST" in environ and "SLURM_PROCID" in environ:
        return Cluster("Slurm")  # inside srun; a batch script by itself has no step
    if _count(environ, "OMPI_COMM_WORLD_SIZE") > 1:
        return Cluster("Open MPI")
    if "," in environ.get("TPU_WORKER_HOSTNAMES", ""):
        return Cluster("TPU hosts")
    return None


def _count(environ, name) -> int:
    value = environ.get(name, "")
    return int(value) if value.isdigit() else 0


def _check(by: str, given: dict[str, Any]) -> Cluster | None:
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UserError(f"several processes need {', '.join(given)}; {missing[0]} is missing")
    (where, address), (how_many, count), (which, rank) = given.items()
    try:
        count, rank = int(count), int(rank)
    except ValueError:
        raise UserError(f"{how_many}={count} and {which}={rank} must be whole numbers") from None
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"{where}={address} must be HOST:PORT, the address of process 0")
    if count < 1 or not 0 <= rank < count:
        raise UserError(f"{which}={rank} must be from 0 to {how_many} - 1, and {how_many} is {count}")
    return Cluster(by, str(address), count, rank) if count > 1 else None


def start(cluster: Cluster | None) -> None:
    """Joins the cluster, before JAX uses a device. Only the first process prints to standard output from here on.

    Raises:
      UserError: the others were not found.
    """
    if cluster is None:
        return
    with contextlib.suppress(AttributeError):  # a version without it
        jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours: ``interruption.py``
    try:
        jax.distributed.initialize(cluster.coordinator, cluster.num_processes, cluster.process_id)
    except Exception as error:  # sockets, time limits and wrong variables raise errors of many kinds
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the processes (found by {cluster.by}) could not join: {reason}; start all of them with one coordinator"
        ) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w")


def join(config: Any) -> Any:
    """Joins the other processes, if there are any, and returns the configuration that all of them share.

    Args:
      config: with the flags ``deterministic``, ``coordinator``, ``num_processes`` and ``process_id``.

    Raises:
      UserError: the processes do not find each other, or were started with different flags.
    """
    if config.deterministic and DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    start(find(config.coordinator, config.num_processes, config.process_id))
    shared = dataclasses.replace(config, coordinator=None, num_processes=None, process_id=None)
    check_equal("flags", repr(shared))
    return shared
