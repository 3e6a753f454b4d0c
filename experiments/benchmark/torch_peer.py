"""PyTorch, timed on request: a program of its own that imports nothing of jax, and of this project its networks alone.

    python torch_peer.py      then a line at a time on standard input, each answered by one line on standard output

    load {"model": ..., ...}   makes the network of ``SPEC``              ready VERSION DEVICE PARAMETERS SIDE
    time train N               N updates                                  seconds S
    time evaluate N            the ELBO of N examples                     seconds S
    time importance N          the importance-weighted NLL of N examples  seconds S
    time products N            N float32 products of SIDE x SIDE          seconds S
    outputs FILE               sums over the test data of means, log      outputs A B C
                               variances and log p(x|z = mean), with the weights of an npz, in PyTorch's order

Anything that fails is answered by ``error`` and one line. It is written as PyTorch would be by somebody who cares: data
in memory as tensors, no loader, the fused Adam, ``inference_mode`` for evaluation, nothing read back inside the loop;
on a GPU TensorFloat32, as JAX has it.
"""

from __future__ import annotations

import json
import math
import sys
import time

import numpy as np
import torch
from networks_of_torch_peer import MODELS, Sentences
from torch import nn

# What ``load`` is given; of a text "vocabulary", "embedding" and "clip_norm" as well, of images "levels" or "blocks".
SPEC = ("model", "event", "hidden", "latent_dim", "batch_size", "train", "test", "threads", "device", "dtype", "sides")
SPEC += ("compiled", "channels_last", "evaluated_at_once", "weighed_at_once", "samples", "rows")


def negative_elbo(model, x):
    """The mean over the batch, nats: one sample of z, the analytic KL."""
    mean, logvar = model.encode(x)
    z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    kl = 0.5 * (mean.square() + torch.expm1(logvar) - logvar).sum(-1)
    return (kl - model.log_likelihood(z, x)).mean()


def importance_nll(model, x, samples, rows):
    """-L_K of each example, ``[b]``, nats, a few samples of all examples at a time: about ``rows`` of z."""
    mean, logvar = model.encode(x)
    at_once, parts = max(1, rows // len(x)), []
    for first in range(0, samples, at_once):
        noise = torch.randn(min(at_once, samples - first), *mean.shape, device=x.device)
        z = mean + torch.exp(0.5 * logvar) * noise
        ratio = 0.5 * (noise.square() + logvar - z.square()).sum(-1)  # log p(z) - log q(z|x)
        parts.append(model.log_likelihood(z, x) + ratio)
    return math.log(samples) - torch.cat(parts).logsumexp(0)


def products(side, device):
    """A function that makes ``count`` products of two float32 matrices of this side, each the factor of the next."""
    a = torch.full((side, side), 1 / side, device=device)
    pair = [a.clone(), a.clone()]

    @torch.inference_mode()
    def multiply(count):
        for _ in range(count):
            torch.mm(pair[1], a, out=pair[0])
            pair.reverse()
        return pair[1]

    return multiply


class Peer:
    """A network, its optimiser and its data, ready to be timed."""

    def __init__(self, spec):
        if spec["threads"]:
            torch.set_num_threads(spec["threads"])
        torch.manual_seed(0)
        self.spec, self.device = spec, torch.device(spec["device"])
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        self.layout = torch.channels_last if spec["channels_last"] else torch.contiguous_format
        self.model = MODELS[spec["model"]](spec).to(self.device, memory_format=self.layout)
        self.train_data, self.test_data = (self._tensor(np.load(spec[split])) for split in ("train", "test"))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
        self.batches = self._batches()
        self.loss, self.importance = negative_elbo, importance_nll
        if spec["compiled"]:
            mode = "default" if self.device.type == "cpu" else "reduce-overhead"  # the latter is CUDA graphs
            self.loss, self.importance = (torch.compile(f, mode=mode) for f in (negative_elbo, importance_nll))
        self.work = {"train": self.train, "evaluate": self.evaluate, "importance": self.weigh}
        self.side, most = 0, 0.0
        for side in spec["sides"]:  # the one whose products are quickest
            multiply, count = products(side, self.device), max(1, int(2e10 / side**3))
            rate = count * side**3 / min(self.clock(multiply, count) for _ in range(3))
            if rate > most:
                self.side, most, self.work["products"] = side, rate, multiply

    @property
    def parameters(self):
        """How many numbers are learned, the second bias of a recurrent layer apart."""
        return sum(p.numel() for name, p in self.model.named_parameters() if "bias_hh" not in name)

    def _tensor(self, array):
        if isinstance(self.model, Sentences):
            return torch.from_numpy(array.astype(np.int64)).to(self.device)
        images = torch.from_numpy(np.moveaxis(array, -1, 1).astype(np.float32))
        return images.to(self.device, memory_format=self.layout)

    def _batches(self):
        size = self.spec["batch_size"]
        while True:
            order = torch.randperm(len(self.train_data), device=self.device)
            for start in range(0, len(order) - size + 1, size):
                yield self.train_data[order[start : start + size]]

    def train(self, count):
        """Makes ``count`` updates."""
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.model, next(self.batches))
            loss.backward()
            if self.spec.get("clip_norm"):
                nn.utils.clip_grad_norm_(self.model.parameters(), self.spec["clip_norm"])
            self.optimizer.step()
        return loss.detach()

    def _parts(self, count, size):
        # Whole batches, as many as it takes: a rest of another size would be compiled by itself.
        for start in range(0, count, size):
            first = start % max(len(self.test_data) - size + 1, 1)
            yield self.test_data[first : first + size]

    @torch.inference_mode()
    def evaluate(self, count):
        """The negative ELBO of ``count`` examples."""
        return torch.stack([self.loss(self.model, x) for x in self._parts(count, self.spec["evaluated_at_once"])])

    @torch.inference_mode()
    def weigh(self, count):
        """The importance-weighted NLL of ``count`` examples."""
        size = min(count, self.spec["weighed_at_once"])
        asked = (self.spec["samples"], self.spec["rows"])
        return torch.cat([self.importance(self.model, x, *asked) for x in self._parts(count, size)])

    @torch.no_grad()
    def outputs(self, path):
        """The sums of the means, the log variances and log p(x|z = mean) over the test data, with these weights."""
        weights = np.load(path)
        for parameter, name in zip(self.model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weights[name]).reshape_as(parameter))
        mean, logvar = self.model.encode(self.test_data)
        return [float(values.sum()) for values in (mean, logvar, self.model.log_likelihood(mean, self.test_data))]

    def clock(self, work, count):
        """How long ``work(count)`` took, the devices waited for."""
        wait = torch.cuda.synchronize if self.device.type == "cuda" else lambda: None
        wait()
        started = time.perf_counter()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec["dtype"] == "bfloat16"):
            values = work(count)
        wait()
        taken = time.perf_counter() - started
        if not bool(torch.isfinite(values).all()):
            raise ArithmeticError("it gave a number that is not finite")
        return taken


def answered(peer, verb, rest):
    """The answer of ``peer`` to a line, but for ``load``."""
    if verb == "outputs":
        return "outputs " + " ".join(f"{value:.9g}" for value in peer.outputs(rest))
    what, count = rest.split()
    return f"seconds {peer.clock(peer.work[what], int(count)):.9f}"


def main():
    """Answers until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # a library may print
    peer = None
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        try:
            if verb == "load":
                peer = Peer(json.loads(rest))
                answer = f"ready {torch.__version__} {peer.device.type} {peer.parameters} {peer.side}"
            else:
                answer = answered(peer, verb, rest)
        except Exception as error:  # whatever it is, the one who asked is waiting for a line
            answer = f"error {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
