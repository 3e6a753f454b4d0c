"""Maps functions of one example over many: batches of one size, so that each function is compiled once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.types import Array, Params, UserError

FEW = 16  # a batch for calls with a few examples, which need not wait for a full one
IN_FLIGHT = 3  # batches that are computed while the host prepares the next


class Programs:
    """The compiled functions of a model, by name; ``run`` compiles what it meets for the first time."""

    def __init__(self):
        self.compiled: dict[str, Callable] = {}

    def run(
        self,
        name: str,
        function: Callable,
        params: Params,
        arrays: Sequence[np.ndarray],
        key: Array,
        first: int,
        batch_size: int,
    ) -> Any:
        """Maps ``function(params, key, row, *example) -> pytree`` over ``arrays [n, ...]``: numpy arrays ``[n, ...]``.

        The last batch is padded with zeros, and the padding dropped. ``row`` counts from ``first``.
        """
        if name not in self.compiled:
            axes = (None, None, 0, *(0 for _ in arrays))
            self.compiled[name] = jax.jit(jax.vmap(function, in_axes=axes))
        program, n = self.compiled[name], len(arrays[0])
        size = FEW if n <= FEW else batch_size
        waiting, parts = deque(), []
        # Full float32 products, as in every evaluation: the defaults of accelerators move single examples by 1e-2 nats.
        with jax.default_matmul_precision("highest"):
            for start in range(0, max(n, 1), size):
                rows = np.arange(first + start, first + start + size, dtype=np.uint32)
                waiting.append(
                    program(params, key, rows, *(_padded(array[start : start + size], size) for array in arrays))
                )
                if len(waiting) >= IN_FLIGHT:
                    parts.append(jax.tree.map(np.asarray, waiting.popleft()))
        parts += [jax.tree.map(np.asarray, part) for part in waiting]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n], *parts)


def _padded(rows: Any, size: int) -> Any:
    if len(rows) == size:
        return rows
    return jax.tree.map(lambda v: np.concatenate([v, np.zeros((size - len(v), *v.shape[1:]), v.dtype)]), rows)


def checked_key(key) -> Array:
    """Returns a key of randomness, or raises a ``UserError`` that says what else it is."""
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()):
        raise UserError(f"key is {type(key).__name__}, expected one of JAX's, such as jax.random.key(0)")
    return key
