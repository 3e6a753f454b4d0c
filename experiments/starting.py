"""Before the first use of a device: what XLA is told, and the processes that take part."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from vae_jax import cluster, processes

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def start(config: Any) -> Any:
    """Joins the other processes, if there are any, and returns the configuration that all of them share.

    Args:
      config: with the flags ``deterministic``, ``coordinator``, ``num_processes`` and ``process_id``.

    Raises:
      UserError: the processes do not find each other, or were started with different flags.
    """
    if config.deterministic and DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    processes.start(cluster.find(config.coordinator, config.num_processes, config.process_id))
    shared = dataclasses.replace(config, coordinator=None, num_processes=None, process_id=None)
    processes.check_equal("flags", repr(shared))
    return shared
