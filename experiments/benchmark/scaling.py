"""What more devices cost and gain: weak scaling as measured here, and what exchanging gradients will cost elsewhere.

    JAX_NUM_CPU_DEVICES=8 python -m experiments.benchmark.scaling          the mlp, on 1, 2, 4 and 8 virtual devices
    JAX_NUM_CPU_DEVICES=8 python -m experiments.benchmark.scaling --model=conv --side=64 --batch_size=32
    python -m experiments.benchmark.scaling                                on real devices: as many as there are

Each device gets a batch of its own. Virtual devices share the cores of one machine, so time grows with their number;
what is measured is the time of n devices over that of one device with the same global batch: what dividing costs. On
real devices the efficiency is the time of one device over that of n. Both are medians over alternations in one process.

The prediction is arithmetic: a step exchanges one all-reduce of all gradients, 4 bytes a parameter, and nothing else.
On a ring of n devices it takes 2 (n - 1) / n times the bytes over the bandwidth of a device, and 2 (n - 1) times the
latency of a hop (Thakur 2005, doi 10.1177/1094342005051521); in groups (a torus) the hops are those of its rings.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vae_jax.devices.memory import state_bytes
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json

from . import cases
from .operations import step_flops
from .timing import alternate, ratio


class Machine(NamedTuple):
    """Numbers of a data sheet: per device, dense; and a share of the peak that small products reach, an assumption."""

    name: str
    rings: tuple[int, ...]
    flops: float
    bytes_per_second: float
    hop_seconds: float
    share: float = 0.3


MACHINES = (
    # NVIDIA H100 SXM: TF32 dense 495 TFLOP/s, NVLink 4 450 GB/s each way.
    Machine("8 H100 (NVLink)", (8,), 495e12, 450e9, 2e-6),
    # TPU v4: bfloat16 275 TFLOP/s a chip of two cores, three axes of a torus, 2 x 50 GB/s each.
    Machine("256 TPU v4 cores (128 chips)", (4, 4, 8), 275e12, 300e9, 1e-6),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str | None = option(None, "where scaling.json goes (default: nowhere)", identity=False)
    model: str = option("mlp", "the encoder and decoder", ("mlp", "conv"))
    hidden: str = option("512,512", "widths of the hidden layers")
    latent_dim: int = option(20, "the number of latents")
    side: int = option(28, "of the images, pixels")
    batch_size: int = option(128, "examples per update and device")
    num_steps: int = option(50, "updates of each timed chunk")
    repeats: int = option(5, "alternations")


def compare(config: Config, devices: int) -> dict[str, float]:
    """Returns milliseconds of a step: one device, one device with the batches of all, and all; and their ratios."""
    sizes = {"one": (1, 1), "whole": (devices, 1), "divided": (devices, devices)}
    timers = {}
    for name, (batches, used) in sizes.items():
        r = cases.of_flags(config, batches * config.batch_size, used)
        timers[name] = cases.alone(r).timer(config.num_steps, config.num_steps)
    rates = alternate(timers, config.repeats)
    dividing, (least, greatest) = ratio(rates["whole"], rates["divided"])
    return {
        "devices": devices,
        **{f"{name}_ms": float(np.median(1e3 / rate)) for name, rate in rates.items()},
        "dividing": dividing,
        "dividing_least": least,
        "dividing_greatest": greatest,
        "efficiency": ratio(rates["divided"], rates["one"])[0],
    }


def predict(machine: Machine, gradient_bytes: float, flops: float) -> dict[str, float]:
    """Returns the seconds of a step's arithmetic and exchange on ``machine``, and the efficiency that they leave.

    Args:
      machine: whose data sheet is taken.
      gradient_bytes: of all parameters.
      flops: of a step of one device.
    """
    n = int(np.prod(machine.rings))
    compute = flops / (machine.share * machine.flops)
    exchange = 2 * (n - 1) / n * gradient_bytes / machine.bytes_per_second
    exchange += 2 * sum(ring - 1 for ring in machine.rings) * machine.hop_seconds
    return {"compute": compute, "exchange": exchange, "efficiency": compute / (compute + exchange)}


def main(config: Config) -> None:
    """Prints both tables."""
    kind = jax.devices()[0].device_kind
    counts = [n for n in (1, 2, 4, 8, 16, 32) if n <= jax.device_count()]
    print(f"{config.model} ({config.hidden}, {config.side}x{config.side}), {config.batch_size} a device, on {kind}")
    print("devices   one device   all batches on one   divided   divided / on one        one / divided")
    line = "{devices:7d} {one_ms:9.2f} ms {whole_ms:17.2f} ms {divided_ms:6.2f} ms   {dividing:.3f} "
    rows = []
    for devices in counts:
        rows.append(compare(config, devices))
        print((line + "[{dividing_least:.3f}, {dividing_greatest:.3f}]   {efficiency:.3f}").format(**rows[-1]))
    r = cases.of_flags(config, config.batch_size, 1)
    flops, size = step_flops(r), state_bytes(jax.eval_shape(r.vae.init, r.key))
    print(f"one step of one device: {flops:.4g} operations; the gradients: {size / 1e6:.3g} MB")
    predicted = {}
    for machine in MACHINES:
        p = predicted[machine.name] = predict(machine, size, flops)
        print(
            f"{machine.name}: arithmetic {1e6 * p['compute']:.3g} us at {100 * machine.share:.0f}% of the peak, "
            f"exchange {1e6 * p['exchange']:.3g} us; efficiency {p['efficiency']:.2f} if nothing overlaps, a half "
            f"at {config.batch_size * p['exchange'] / p['compute']:.3g} examples a device"
        )
    if config.workdir:
        Path(config.workdir).mkdir(parents=True, exist_ok=True)
        answer = {"device": kind, "rows": rows, "flops": flops, "gradient_bytes": size, "predicted": predicted}
        write_json(Path(config.workdir) / "scaling.json", answer)


if __name__ == "__main__":
    launch(main, Config)
