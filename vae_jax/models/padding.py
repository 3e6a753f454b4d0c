"""Images of any size for networks that halve them: padded where they enter, cropped where they leave."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from vae_jax.types import VAE, Event, UserError


def check_image(event: Event, step: int, model: str, advice: str = "") -> None:
    """Refuses what is no image ``[h, w, c]`` with sides of at least half of ``step``, a side's smallest padded size.

    Below that more than half of what the network sees along a side would be made up.

    Raises:
      UserError: it names the ``model`` by its flags, the nearest size that works, and ``advice`` or another model.
    """
    least, shape = step // 2, "x".join(map(str, event))
    if len(event) != 3 or min(event) < 1:
        raise UserError(
            f"{model} takes images [height, width, channels], not examples of shape {shape}; --model=mlp takes any"
        )
    if min(event[:2]) < least:
        height, width = (max(least, side) for side in event[:2])
        raise UserError(
            f"{model} takes images with sides of at least {least}, not examples of shape {shape}; "
            f"--image_size={width}x{height} brings them to the nearest size that works, {advice}--model=mlp takes any"
        )


def up_to(event: Event, step: int) -> Event:
    """Returns the event with both sides raised to the next multiple of ``step``."""
    return (*(-(-side // step) * step for side in event[:2]), event[2])


def padded(make: Callable[[Event, Event], VAE], event: Event, theta_shape: Event, inner: Event) -> VAE:
    """A ``VAE`` of images ``event`` whose networks work on the larger images ``inner``.

    What is added repeats the border: zeros would draw an edge around every image that does not end in black, which the
    network would have to learn to ignore. What the decoder says of the added pixels is cut off, so no likelihood sees
    them. The image lies in the middle.

    Args:
      make: ``(event, theta_shape) -> VAE``, unbatched; its encoder reads one example.
      event: ``(h, w, c)``.
      theta_shape: the event with any axes before and after it.
      inner: ``(H, W, c)``, H >= h and W >= w. Where they are equal, the result is ``make(event, theta_shape)`` itself.
    """
    event, theta_shape = tuple(event), tuple(theta_shape)
    if inner == event:
        return make(event, theta_shape)
    first = next(i for i in range(len(theta_shape)) if theta_shape[i : i + 3] == event)
    starts = [(large - side) // 2 for large, side in zip(inner, event[:2])]
    margins = [(start, large - side - start) for start, large, side in zip(starts, inner, event[:2])]
    vae = make(inner, (*theta_shape[:first], *inner, *theta_shape[first + 3 :]))

    def cut(theta):
        for axis, (start, side) in enumerate(zip(starts, event), start=first):
            theta = lax.slice_in_dim(theta, start, start + side, axis=axis)
        return theta

    return vae._replace(
        encode=lambda params, x: vae.encode(params, jnp.pad(x, (*margins, (0, 0)), mode="edge")),
        decode=lambda params, z: cut(vae.decode(params, z)),
        notes=(*vae.notes, f"images of {event[0]}x{event[1]} are padded to {inner[0]}x{inner[1]} inside the networks"),
    )
