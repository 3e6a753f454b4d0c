"""Convolutions of one image, fast on a CPU too: 4x4 of stride 2, its transpose, and 3x3 of stride 1.

On GPU and TPU all are XLA's convolutions. XLA's CPU backend is slow at the gradients of strided convolutions, and ten
times slower again inside a ``scan``, so there the strided ones are one matrix product for each example. Cut the image,
padded by one, into 2x2 cells of 4c channels: an output pixel sees 2x2 cells, four shifts of one grid. With n positions,

    conv_down   right^T(left(x) matrix)         left: image [h, w, c] -> [n, i]      matrix: the kernel as [i, j]
    conv_up     left^T(right(y) matrix^T)       right: image [h/2, w/2, o] -> [n, j]

where ^T of a function is its transpose, which JAX derives. The shifts are made on the side with fewer channels, since
each is a copy: on the cells of a grey or colour image (i = 16c, j = o), otherwise on the output (i = 4c, j = 4o).
Everything is linear copying and matrix products, so the derivatives are as fast as the function.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")


# Measured on two CPU cores: an update of ``models.conv`` on 64x64x1, batch 128, in a scan, in ms. Plain convolutions
# 5700 and more, this 143, the same with a custom VJP 152, a plain forward pass with a custom VJP 149, four shifted
# products 248, im2col 429. A custom VJP would also lose forward mode, and under ``vmap`` over runs it becomes grouped
# convolutions.


def conv_down(x, kernel):
    """Convolution of stride 2 and padding 1: ``x[h, w, c], kernel[4, 4, c, o] -> [h/2, w/2, o]``; h and w even."""
    x, kernel = same_dtype(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=matrix_down, default=plain_down)


def conv_up(y, kernel):
    """The transpose of ``conv_down`` with the same kernel: ``y[h, w, o], kernel[4, 4, c, o] -> [2h, 2w, c]``.

    For every x and y, <conv_down(x, kernel), y> = <x, conv_up(y, kernel)>.
    """
    y, kernel = same_dtype(y, kernel)
    return lax.platform_dependent(y, kernel, cpu=matrix_up, default=plain_up)


def plain_down(x, kernel):
    """``conv_down`` as XLA's convolution."""
    return lax.conv_general_dilated(x[None], kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=_LAYOUT)[0]


def plain_up(y, kernel):
    """``conv_up`` as XLA's convolution."""
    pads = [(2, 2), (2, 2)]  # of the dilated image: kernel - 1 - padding on each side
    image = lax.conv_transpose(y[None], kernel, (2, 2), pads, dimension_numbers=_LAYOUT, transpose_kernel=True)
    return image[0]


def matrix_down(x, kernel):
    """``conv_down`` as one matrix product."""
    few = _few(kernel)
    product = _left(x, few) @ _matrix(kernel, few)
    output = jax.ShapeDtypeStruct((x.shape[0] // 2, x.shape[1] // 2, kernel.shape[3]), product.dtype)
    return jax.linear_transpose(lambda y: _right(y, few), output)(product)[0]


def matrix_up(y, kernel):
    """``conv_up`` as one matrix product."""
    few = _few(kernel)
    product = _right(y, few) @ _matrix(kernel, few).T
    image = jax.ShapeDtypeStruct((2 * y.shape[0], 2 * y.shape[1], kernel.shape[2]), product.dtype)
    return jax.linear_transpose(lambda x: _left(x, few), image)(product)[0]


def same_dtype(x, kernel):
    """Both in the type that their product has."""
    dtype = jnp.result_type(x, kernel)
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def _few(kernel):
    """Whether a cell of the image has no more channels than the output: then it is the cells that are shifted."""
    return 4 * kernel.shape[2] <= kernel.shape[3]


def _left(x, few):
    """The image's side of the product: cells, or the four that each output pixel sees."""
    h, w, c = x.shape[0] // 2 + 1, x.shape[1] // 2 + 1, x.shape[2]
    cells = _pad(x).reshape(h, 2, w, 2, c).transpose(0, 2, 1, 3, 4).reshape(h, w, 4 * c)
    return _rows(_shifts(cells) if few else cells)


def _right(y, few):
    """The output's side of the product: pixels, or the four that see each cell (in the opposite order)."""
    return _rows(y if few else _shifts(_pad(y)))


def _matrix(kernel, few):
    """The kernel's entries, rearranged for the sides above."""
    _, _, c, o = kernel.shape
    blocks = kernel.reshape(2, 2, 2, 2, c, o)  # row of the cell, row in it, column of the cell, column in it
    if few:
        return blocks.transpose(0, 2, 1, 3, 4, 5).reshape(16 * c, o)
    return blocks[::-1, :, ::-1].transpose(1, 3, 4, 0, 2, 5).reshape(4 * c, 4 * o)


def _pad(x):
    return jnp.pad(x, ((1, 1), (1, 1), (0, 0)))


def _shifts(a):
    """``[h + 1, w + 1, c] -> [h, w, 4c]``: the 2x2 neighbours of each position."""
    h, w = a.shape[0] - 1, a.shape[1] - 1
    return jnp.concatenate([a[i : i + h, j : j + w] for i in (0, 1) for j in (0, 1)], axis=-1)


def _rows(a):
    return a.reshape(-1, a.shape[-1])


def conv_same(x, kernel):
    """Convolution of stride 1 and padding 1: ``x[h, w, c], kernel[3, 3, c, o] -> [h, w, o]``.

    On a CPU it has no forward-mode derivative; ``matrix_same`` has.
    """
    # Here the CPU is slow at the gradient of the kernel alone. Two of these with their gradients in a scan, batch 128,
    # 16x16x32, in ms: this 45, im2col 66, over 2x2 cells as above 90, one product over three rows 88, plain 8430. A
    # ``custom_jvp`` would keep forward mode, and takes 1200.
    x, kernel = same_dtype(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=_mixed_same, default=plain_same)


def plain_same(x, kernel):
    """``conv_same`` as XLA's convolution."""
    return lax.conv_general_dilated(x[None], kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=_LAYOUT)[0]


def matrix_same(x, kernel):
    """``conv_same`` as one matrix product."""
    (h, w, c), outputs = x.shape, kernel.shape[3]
    padded = _pad(x)
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
