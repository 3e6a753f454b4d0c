"""PyTorch's networks are ours: as many parameters, and with our weights our outputs. Needs VAE_JAX_PEER_PYTHON."""

from __future__ import annotations

import os

import jax
import numpy as np
import pytest
from helpers.parameters import drawn

from experiments.benchmark import cases, peers
from vae_jax import objective

IMAGES = {
    "mlp": ({"hidden": "8,6"}, (4, 4, 1), "Dense_0 Dense_1", "Dense_0 Dense_1 theta"),
    "conv": ({"hidden": "8,6"}, (16, 16, 2), "Down_0 Down_1 Dense_0 Dense_1", "Dense_0 Dense_1 Dense_2 Up_0 theta"),
    "resnet": (
        {"hidden": "4,6"},
        (16, 8, 3),
        "Down_0 Block_0 Block_1 Down_1 Block_2 Block_3",
        "Dense_0 Block_0 Block_1 Up_0 Block_2 Block_3 theta",
    ),
}


def of_layer(layer, before=None, after=None):
    """Weight and bias of a layer as PyTorch has them: channels first in the grid before or after a dense one."""
    if "Same_0" in layer:
        return [array for name in ("Same_0", "Same_1") for array in of_layer(layer[name])]
    kernel, bias = layer["kernel"], layer["bias"]
    if kernel.ndim == 4:  # both kinds of convolution: ours are (h, w, i, o), and the transposed one's o is its input
        return [kernel.transpose(3, 2, 0, 1), bias]
    if before:
        kernel = kernel.reshape(*before, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
    if after:
        kernel = kernel.reshape(-1, *after).transpose(0, 3, 1, 2).reshape(kernel.shape)
        bias = bias.reshape(after).transpose(2, 0, 1).reshape(-1)
    return [kernel.T, bias]


def of_images(params, encoder, decoder):
    """The arrays of a network of images in the order of PyTorch's ``parameters()``."""
    arrays, encoder, decoder = [], encoder.split(), decoder.split()
    convolved = "Down_0" in encoder
    heads = {name: params["encoder"][name] for name in ("mean", "logvar")}
    sides, first = (4, 4) if "Dense_0" in encoder else (4, 2), True
    channels = 32 if "Dense_0" in encoder else 6
    grid = (*sides, channels) if convolved else None
    for name in encoder:
        dense = name.startswith("Dense")
        arrays += of_layer(params["encoder"][name], before=grid if dense and first else None)
        first = first and not dense
    last = [name for name in decoder if name.startswith("Dense")][-1]
    for name in decoder:
        arrays += of_layer(params["decoder"][name], after=grid if name == last else None)
    for head in heads.values():
        arrays += of_layer(head, before=grid if first else None)
    return arrays


def of_cell(steps, cell):
    """Both weights and both biases of a recurrent layer, z behind the words; our forget gate adds 1 to its bias."""
    inputs = np.concatenate([steps["input"], *([steps["constant"]] if "constant" in steps else [])])
    bias, hidden = steps["bias"].copy(), len(steps["recurrent"])
    if cell == "lstm":
        bias[hidden : 2 * hidden] += 1.0
    return [inputs.T, steps["recurrent"].T, bias, np.zeros_like(bias)]


def of_sentences(params, cell):
    """The arrays of a network of sentences in the order of PyTorch's ``parameters()``."""
    read, write = params["encoder"], params["decoder"]
    cells = of_cell(read["steps"], cell) + of_cell(write["steps"], cell)
    ends = [array for layer in (read["mean"], read["logvar"], write["start"]) for array in of_layer(layer)]
    ends += [write["logits_kernel"].T, write["logits_bias"]]
    return [read["embed"]["embedding"], write["embed"]["embedding"], *cells, *ends]


def ours(r, params):
    """The sums of means, log variances and log p(x|z = mean) over the test data."""

    def example(raw):
        x = r.preprocess(r.key, raw)
        q = r.vae.encode(params, x)
        theta = objective.decode(r.vae, {"model": params}, x, q.mean[None])[0]
        return q.mean.sum(), q.logvar.sum(), r.likelihood.log_prob({}, theta, x)

    return [float(values.sum()) for values in jax.jit(jax.vmap(example))(r.dataset.test)]


@pytest.mark.skipif("VAE_JAX_PEER_PYTHON" not in os.environ, reason="VAE_JAX_PEER_PYTHON names no Python with torch")
@pytest.mark.parametrize("name", [*IMAGES, "lstm", "gru"])
def test_the_networks_of_torch_give_our_outputs(name, tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "SCORED", 20)
    flags, shape, *stacks = IMAGES.get(name, ({"hidden": "8", "embedding": 6}, None))
    r = (case := cases.make(name, {"latent_dim": 3, **flags}, shape, count=128)).run
    params = drawn(jax.eval_shape(r.vae.init, r.key))
    arrays = of_images(params, *stacks) if stacks else of_sentences(params, name)
    np.savez(tmp_path / "weights.npz", *arrays)
    spec, wanted = peers.spec_of(case, 2, tmp_path), ours(r, params)
    assert all(abs(value) > 1 for value in wanted)
    for variant in peers.VARIANTS if name == "resnet" else ["eager"]:
        worker = peers.Worker([os.environ["VAE_JAX_PEER_PYTHON"], str(peers.SCRIPT)])
        try:
            asked = spec | {"sides": (), "compiled": False, "channels_last": "channels_last" in variant}
            parameters = worker.ask("load " + peers.json.dumps(asked), "ready").split()[2]
            assert int(parameters) == spec["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
            found = [float(text) for text in worker.ask(f"outputs {tmp_path / 'weights.npz'}", "outputs").split()]
        finally:
            worker.close()
        np.testing.assert_allclose(found, wanted, rtol=2e-5)
