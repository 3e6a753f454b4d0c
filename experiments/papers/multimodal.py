"""Several x with one code: a product of experts, each x with its own learned noise (Wu and Goodman 2018, 1802.05335).

    python -m experiments.papers.multimodal --workdir=runs/multimodal         digits, about a minute on two CPU cores

An example is an image and twenty noisy readings of its label, of the columns 0 to 9 twice. Each has an encoder, and
q(z|image, readings) is the product of both Gaussians and of the prior; an x that is not there has no factor in it. Each
example is trained with both, or with one of them missing, so either alone is enough at the end. Nothing but this file
is needed for it: ``likelihoods.blocks`` sums two families, ``likelihoods.partial`` leaves out what is missing, a
``VAE`` is three functions.

Both families learn their sigma, which is what a weight between modalities has to be (1 / sigma^2, up to a constant).
So the readings are trained in two units, as they are and ten times smaller: with learned noise all is the same to three
digits, and with one fixed sigma, the sum of squared errors that needs a weight to be found by trial, the small readings
are not coded. Expect labels told from images at .87 in all four; images made from readings to be of the right digit
(by a linear classifier) at .59 with learned noise in both units, and with the fixed one at .71, then at .11, chance.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json

if TYPE_CHECKING:
    from vae_jax.types import VAE, Likelihood

CLASSES, REPEATS = 10, 2
NOISE = 0.5  # of a reading
DRAWS = 32  # of z
UNITS = (1.0, 0.1)  # of the readings


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str = option("runs/multimodal", "where the table lives", identity=False)
    dataset: str = option("digits", "any set of grey images with a label")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    num_steps: int = option(3000, "updates of each model", least=1)
    batch_size: int = option(128, "examples per update", least=1)
    latent_dim: int = option(6, "the number of latents", least=1)
    hidden: str = option("64", "widths of the hidden layers of each modality")
    sigma: float = option(0.3, "the fixed standard deviation that is compared", above=0)
    seed: int = option(0, "of everything random", least=0)


def product_of_experts(widths: tuple[int, ...], latent_dim: int, hidden: tuple[int, ...], rows) -> VAE:
    """Makes a VAE of rows ``[f]`` of several modalities, one after another, any of which may be missing (all NaN).

    q(z|x) is the product of N(0, I) and of each modality's Gaussian (Wu and Goodman 2018, eq. 5): precisions add up,
    and that of the prior is 1, so with nothing observed it is the prior.

    Args:
      widths: of the modalities.
      latent_dim: d.
      hidden: widths of each modality's networks.
      rows: training examples ``[n, f]``, in whose spread of each modality its networks work.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from vae_jax.gaussian import DiagGaussian
    from vae_jax.models import mlp
    from vae_jax.types import VAE

    parts = [mlp((width,), (width,), latent_dim, hidden) for width in widths]
    centre, modality = rows.mean(axis=0), np.repeat(np.arange(len(widths)), widths)
    spread = np.array([(rows - centre)[:, modality == i].std() for i in range(len(widths))])[modality]

    def init(key):
        each = [part.init(jax.random.fold_in(key, i)) for i, part in enumerate(parts)]
        return {side: {str(i): own[side] for i, own in enumerate(each)} for side in ("encoder", "decoder")}

    def own(params, i):
        return {side: params[side][str(i)] for side in ("encoder", "decoder")}

    def encode(params, x):
        precision, weighted = jnp.ones(latent_dim), jnp.zeros(latent_dim)
        for i, (part, one) in enumerate(zip(parts, jnp.split((x - centre) / spread, np.cumsum(widths)[:-1]))):
            there = ~jnp.isnan(one).all()
            q = part.encode(own(params, i), jnp.nan_to_num(one))
            expert = jnp.where(there, jnp.exp(-q.logvar), 0.0)
            precision, weighted = precision + expert, weighted + expert * q.mean
        return DiagGaussian(weighted / precision, -jnp.log(precision))

    def decode(params, z):
        return centre + spread * jnp.concatenate([part.decode(own(params, i), z) for i, part in enumerate(parts)])

    return VAE(init, encode, decode)


def family(widths: tuple[int, ...], sigma: float | None, rows) -> Likelihood:
    """Makes a Gaussian for each modality, of a sigma that it learns or of a fixed one; what is missing is left out."""
    import numpy as np

    from vae_jax import likelihoods

    parts = []
    for part in np.split(rows, np.cumsum(widths)[:-1], axis=1):
        spread = float((part - part.mean(axis=0)).std())  # where a learned one begins
        one = likelihoods.gaussian("learned", spread) if sigma is None else likelihoods.gaussian("fixed", sigma)
        parts.append((one, part.shape[1]))
    return likelihoods.partial(likelihoods.blocks(parts))


def dropping(widths: tuple[int, ...]) -> Any:
    """Makes ``(key, raw[f]) -> x[f]``, which takes all modalities, or all but one away, each as often as the others."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    modality = np.repeat(np.arange(len(widths)), widths)

    def preprocess(key, raw):
        kept = jax.random.randint(key, (), 0, len(widths) + 1)  # the last is all of them
        return jnp.where((kept == len(widths)) | (modality == kept), raw, jnp.nan)

    return preprocess


def trained(config: Config, widths: tuple[int, ...], rows, sigma: float | None) -> tuple[VAE, Likelihood, Any]:
    """Trains one model; returns it with its parameters."""
    import jax

    from vae_jax import schedules, weighting
    from vae_jax.runs.parsing import parse_widths
    from vae_jax.train import Recipe, init_state, make_chunk, make_train_step
    from vae_jax.train.optimizers import adam, learning_rates

    vae = product_of_experts(widths, config.latent_dim, parse_widths(config.hidden), rows)
    likelihood = family(widths, sigma, rows)
    optimizer = adam(learning_rates("cosine", 1e-3, config.num_steps), likelihood)
    weight = weighting.from_schedule(schedules.constant(1.0))
    recipe = Recipe(vae, likelihood, optimizer, weight, preprocess=dropping(widths))
    state = init_state(recipe, rows.shape[1:], jax.random.key(config.seed))

    def split(rows):
        return rows, jax.numpy.arange(rows.shape[0])

    chunk = jax.jit(make_chunk(make_train_step(recipe), len(rows), config.batch_size, split), static_argnums=2)
    state, _ = chunk(state, jax.numpy.asarray(rows), config.num_steps)
    return vae, likelihood, jax.device_get(state.params)


def cross(vae: VAE, likelihood: Likelihood, params, rows, widths: tuple[int, ...], seen: int):
    """Returns E[x | one modality] ``[n, f]``: the mean of E[x|z] over draws of its q(z|x), the others missing."""
    import jax
    import numpy as np

    x = np.where(np.repeat(np.arange(len(widths)), widths) == seen, rows, np.nan)

    def one(x, key):
        def mean(z):
            return likelihood.mean(params["likelihood"], vae.decode(params["model"], z))

        return jax.vmap(mean)(vae.encode(params["model"], x).sample(key, DRAWS)).mean(axis=0)

    return np.asarray(jax.jit(jax.vmap(one))(x, jax.random.split(jax.random.key(0), len(x))))


def main(config: Config) -> None:
    """Trains in both units, with learned noise and with a fixed one; writes table.json and prints it."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from vae_jax.data import Reading, load
    from vae_jax.errors import UserError

    data = load(config.dataset, Reading(data_dir=config.data_dir))
    if "label" not in data.factor_names or data.levels is None:
        raise UserError(f"--dataset={config.dataset}: give images with labels, such as digits or mnist")
    place, rng, splits = data.factor_names.index("label"), np.random.default_rng(config.seed), {}
    for split in ("train", "test"):
        pixels = np.asarray(getattr(data, split), np.float32).reshape(len(getattr(data, split)), -1)
        label = getattr(data, f"{split}_factors")[:, place].astype(int)
        read = np.tile(np.eye(CLASSES)[label], REPEATS)
        read = read + NOISE * rng.normal(size=read.shape)
        splits[split] = pixels / (data.levels - 1), read.astype(np.float32), label
    widths = splits["train"][0].shape[1], CLASSES * REPEATS
    (image, _, label), rows = splits["test"], []
    judge = LogisticRegression(max_iter=500).fit(splits["train"][0], splits["train"][2])
    plain = float(np.mean((image - splits["train"][0].mean(axis=0)) ** 2))
    for unit in UNITS:
        joined = {name: np.concatenate([x, unit * read], axis=1) for name, (x, read, _) in splits.items()}
        for sigma in (None, config.sigma):
            vae, likelihood, params = trained(config, widths, joined["train"], sigma)
            read = cross(vae, likelihood, params, joined["test"], widths, 0)[:, widths[0] :]
            drawn = cross(vae, likelihood, params, joined["test"], widths, 1)[:, : widths[0]]
            told = read.reshape(-1, REPEATS, CLASSES).mean(axis=1).argmax(axis=1)
            own = params["likelihood"]
            sigmas = [float(np.sqrt(v)) for v in np.asarray(likelihood.variance(own, np.zeros(sum(widths))))[[0, -1]]]
            rows.append(
                {
                    "unit": unit,
                    "noise": "learned" if sigma is None else f"fixed, {sigma:g}",
                    "sigma_image": sigmas[0],
                    "sigma_readings": sigmas[1] / unit,
                    "label_from_image": float(np.mean(told == label)),
                    "label_of_image_from_readings": float(np.mean(judge.predict(drawn) == label)),
                    "image_error_from_readings": float(np.mean((drawn - image) ** 2)) / plain,
                }
            )
    write_json(Path(config.workdir) / "table.json", rows)
    print("\nunit  noise        sigma of image, readings   label from image   image from readings: its label, error")
    for r in rows:
        print(
            f"{r['unit']:<5g} {r['noise']:13s} {r['sigma_image']:14.3f} {r['sigma_readings']:10.3f} "
            f"{r['label_from_image']:18.3f} {r['label_of_image_from_readings']:21.3f} "
            f"{r['image_error_from_readings']:9.3f}"
        )


if __name__ == "__main__":
    launch(main, Config)
