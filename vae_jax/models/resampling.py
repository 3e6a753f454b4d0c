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
    return lax.platform_dependent(y, kernel, cpu=matrix_up if _few(kernel) else _cells_up, default=plain_up)


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


@jax.custom_jvp
def _cells_up(y, kernel):
    """``conv_up`` whose value is a 2x2 convolution that makes cells, and whose derivatives are those of the product."""
    # The product is four times as wide as the cells, whose sums are then passes over memory. The value of 16x16x32 to
    # 32x32x32, 32 examples: 2.7 ms for 3.9; the derivatives 10.4 for 9.6.
    _, _, c, o = kernel.shape
    blocks = kernel.reshape(2, 2, 2, 2, c, o)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(2, 2, o, 4 * c)
    cells = lax.conv_general_dilated(y[None], blocks, (1, 1), [(1, 1), (1, 1)], dimension_numbers=_LAYOUT)[0]
    h, w = cells.shape[:2]
    return cells.reshape(h, w, 2, 2, c).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c)[1:-1, 1:-1]


@_cells_up.defjvp
def _(primals, tangents):
    (y, kernel), (by_y, by_kernel) = primals, tangents
    return _cells_up(y, kernel), matrix_up(by_y, kernel) + matrix_up(y, by_kernel)


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
    x, kernel = same_dtype(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=_fast_same, default=plain_same)


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


# Of a bilinear function JAX derives two transposes, and the CPU is fast at neither: XLA brings a convolution into the
# order that its libraries take in the outermost computation only, not in the body of a scan, and a custom VJP under
# ``vmap`` makes a kernel's gradient for each example and adds them up. So the derivative by the image is a custom VJP,
# and that by the kernel is left to JAX, which sums over a batch inside of a product, of a function that is made for it.
# A block of four with its gradients in a scan, 16 examples, GFLOP/s at 16x16x32 and 8x8x64: this 126 and 147; the
# kernel's gradient for each example 93 and 46, as one product of 9 shifts 96 and 128, of 3 by 3 shifts 95 and 126.


def _fast_same(x, kernel):
    """``conv_same`` with a derivative by ``x`` and another by ``kernel``, each in the form that is fast."""
    return _also_by_kernel(_by_image(x, lax.stop_gradient(kernel)), x, kernel)


@jax.custom_vjp
def _by_image(x, kernel):
    """``conv_same``, a function of ``x``."""
    return _taller(x, kernel)


def _backward(kernel, cotangent):
    return _taller(cotangent, kernel[::-1, ::-1].swapaxes(2, 3)), jnp.zeros_like(kernel)


_by_image.defvjp(lambda x, kernel: (_taller(x, kernel), kernel), _backward)


def _taller(x, kernel):
    # XLA has two libraries for a CPU: YNNPACK makes 16x16x32 at 100 GFLOP/s, Eigen at 160. YNNPACK takes no convolution
    # whose output is larger than its input, so one row is made too many.
    return lax.conv_general_dilated(x[None], kernel, (1, 1), [(1, 2), (1, 1)], dimension_numbers=_LAYOUT)[0, :-1]


@jax.custom_jvp
def _also_by_kernel(y, x, kernel):
    """``y``, whose derivative is its own and that of ``conv_same(x, kernel)`` by ``kernel``."""
    return y


@_also_by_kernel.defjvp
def _(primals, tangents):
    (_, x, kernel), (own, _, tangent) = primals, tangents
    h, w, c = x.shape
    padded, rows = _pad(x), tangent.transpose(0, 3, 1, 2).reshape(3, kernel.shape[3], 3 * c)
    columns = jnp.concatenate([padded[:, j : j + w] for j in range(3)], axis=-1)
    # The kernel stands left, so that in the transpose the product's left side is the output, the smaller one to turn.
    parts = [lax.dot_general(rows[i], columns[i : i + h], (((1,), (2,)), ((), ()))) for i in range(3)]
    return _also_by_kernel(*primals), own + sum(parts).transpose(1, 2, 0)
