"""The convolution that keeps an image's size: a 3x3 kernel, stride 1, padding 1.

On GPU and TPU it is XLA's convolution, derivatives too. XLA's CPU backend is fast at the function itself, which is the
gradient of the image as well once the kernel is turned round, and a hundred times slower inside a ``scan`` at the
gradient of the kernel; so there that one is a matrix product, in which three shifts of the columns are copies of the
image and three shifts of the rows a sum of the product.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from vae_jax.models.resampling import same_dtype

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_same(x, kernel):
    """Convolution of stride 1 and padding 1: ``x[h, w, c], kernel[3, 3, c, o] -> [h, w, o]``.

    On a CPU it has no forward-mode derivative; ``matrix_same`` has.
    """
    x, kernel = same_dtype(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=_mixed_same, default=plain_same)


def plain_same(x, kernel):
    """``conv_same`` as XLA's convolution."""
    return lax.conv_general_dilated(x[None], kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=_LAYOUT)[0]


def matrix_same(x, kernel):
    """``conv_same`` as one matrix product."""
    (h, w, c), outputs = x.shape, kernel.shape[3]
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    columns = jnp.concatenate([padded[:, j : j + w] for j in range(3)], axis=-1).reshape((h + 2) * w, 3 * c)
    product = columns @ kernel.transpose(1, 2, 0, 3).reshape(3 * c, 3 * outputs)
    rows = product.reshape(h + 2, w, 3, outputs)
    return sum(rows[i : i + h, :, i] for i in range(3))


@jax.custom_vjp
def _mixed_same(x, kernel):
    return plain_same(x, kernel)


def _forward(x, kernel):
    return plain_same(x, kernel), (x, kernel)


def _backward(saved, cotangent):
    x, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return plain_same(cotangent, turned), jax.linear_transpose(lambda k: matrix_same(x, k), kernel)(cotangent)[0]


_mixed_same.defvjp(_forward, _backward)
