"""The same networks in PyTorch, timed on request: a program of its own that imports nothing of jax or of this project.

    python torch_peer.py      then a line at a time on standard input, each answered by one line on standard output

    load {"model": ..., ...}   makes the network of ``SPEC``              ready VERSION DEVICE
    time train N               N updates                                  seconds S
    time evaluate N            the ELBO of N examples                     seconds S
    time importance N          the importance-weighted NLL of N examples  seconds S

Anything that fails is answered by ``error`` and one line. It is written as PyTorch would be by somebody who cares: data
in memory as tensors, no loader, the fused Adam, ``inference_mode`` for evaluation, nothing read back inside the loop.
"""

from __future__ import annotations

import json
import math
import sys
import time
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# What ``load`` is given; of a text "vocabulary", "embedding" and "clip_norm" as well.
SPEC = ("model", "event", "hidden", "latent_dim", "batch_size", "train", "test", "threads", "device", "compiled")
PAD, BOS, FIRST_TARGET = 0, 1, 2
ROWS = 4096  # of z decoded at once for importance samples: about twice as quick as 1,000 on two cores


def layers(widths, activation=nn.SiLU):
    """Linear layers of these widths, each followed by the activation."""
    return [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), activation())]


class Images(nn.Module):
    """Encoder and decoder of binary images ``[b, c, h, w]``; ``down`` and ``up`` are the two stacks."""

    def __init__(self, down, up, width, latent_dim):
        super().__init__()
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)
        self.mean, self.logvar = nn.Linear(width, latent_dim), nn.Linear(width, latent_dim)

    def encode(self, x):
        """Mean and log variance, ``[b, d]``."""
        h = self.down(x - 0.5)
        return self.mean(h), self.logvar(h)

    def log_likelihood(self, z, x):
        """log p(x|z), ``[...]``, of ``z [..., b, d]`` and ``x [b, ...]``."""
        logits = self.up(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
        elementwise = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return -elementwise.flatten(z.dim() - 1).sum(-1)


def mlp(spec):
    """Fully connected, the decoder mirroring the encoder."""
    size, hidden, d = math.prod(spec["event"]), spec["hidden"], spec["latent_dim"]
    up = [*layers([d, *hidden[::-1]]), nn.Linear(hidden[0], size), nn.Unflatten(1, spec["event"])]
    return Images([nn.Flatten(), *layers([size, *hidden])], up, hidden[-1], d)


def conv(spec, channels=32):
    """The convolutions of Burgess 2018: 4x4 of stride 2, down to 4x4 pixels."""
    (c, height, width), hidden, d = spec["event"], spec["hidden"], spec["latent_dim"]
    levels = spec["levels"]
    grid = [channels, height >> levels, width >> levels]
    flat = math.prod(grid)
    down, up = [], []
    for i in range(levels):
        down += [nn.Conv2d(channels if i else c, channels, 4, 2, 1), nn.SiLU()]
        last = i == levels - 1
        up += [nn.ConvTranspose2d(channels, c if last else channels, 4, 2, 1), *([] if last else [nn.SiLU()])]
    down += [nn.Flatten(), *layers([flat, *hidden])]
    up = [*layers([d, *hidden[::-1], flat]), nn.Unflatten(1, grid), *up]
    return Images(down, up, hidden[-1], d)


class Sentences(nn.Module):
    """A recurrent encoder and an autoregressive decoder of ``tokens [b, t]``; z enters every step and the start."""

    def __init__(self, vocabulary, embedding, hidden, latent_dim):
        super().__init__()
        self.read, self.write = nn.Embedding(vocabulary, embedding), nn.Embedding(vocabulary, embedding)
        self.encoder = nn.LSTM(embedding, hidden, batch_first=True)
        self.decoder = nn.LSTM(embedding + latent_dim, hidden, batch_first=True)
        self.mean, self.logvar = nn.Linear(hidden, latent_dim), nn.Linear(hidden, latent_dim)
        self.start, self.logits = nn.Linear(latent_dim, hidden), nn.Linear(hidden, vocabulary)

    def encode(self, x):
        """Mean and log variance, ``[b, d]``, from the state after the last word."""
        states, _ = self.encoder(self.read(x))
        last = (x != PAD).sum(1) - 1
        h = states[torch.arange(len(x), device=x.device), last]
        return self.mean(h), self.logvar(h)

    def log_likelihood(self, z, x):
        """log p(x|z), ``[...]``, of ``z [..., b, d]`` and ``x [b, t]``."""
        x = x.expand(*z.shape[:-1], x.shape[-1]).flatten(0, -2)
        flat = z.flatten(0, -2)
        words = self.write(torch.cat([torch.full_like(x[:, :1], BOS), x[:, :-1]], 1))
        inputs = torch.cat([words, flat[:, None].expand(-1, x.shape[1], -1)], 2)
        c = self.start(flat)
        states, _ = self.decoder(inputs, (torch.tanh(c)[None], c[None]))
        logits = self.logits(states)[..., FIRST_TARGET:]  # the padding and the beginning are no targets
        target = torch.where(x == PAD, FIRST_TARGET - 1, x) - FIRST_TARGET
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1, reduction="none")
        return -loss.unflatten(0, x.shape).sum(1).unflatten(0, z.shape[:-1])


def lstm(spec):
    """The sequence VAE."""
    return Sentences(spec["vocabulary"], spec["embedding"], spec["hidden"][0], spec["latent_dim"])


MODELS = {"mlp": mlp, "conv": conv, "lstm": lstm}


def negative_elbo(model, x):
    """The mean over the batch, nats: one sample of z, the analytic KL."""
    mean, logvar = model.encode(x)
    z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    kl = 0.5 * (mean.square() + torch.expm1(logvar) - logvar).sum(-1)
    return (kl - model.log_likelihood(z, x)).mean()


def importance_nll(model, x, samples):
    """-L_K of each example, ``[b]``, nats, a few samples of all examples at a time."""
    mean, logvar = model.encode(x)
    at_once, parts = max(1, ROWS // len(x)), []
    for first in range(0, samples, at_once):
        noise = torch.randn(min(at_once, samples - first), *mean.shape, device=x.device)
        z = mean + torch.exp(0.5 * logvar) * noise
        ratio = 0.5 * (noise.square() + logvar - z.square()).sum(-1)  # log p(z) - log q(z|x)
        parts.append(model.log_likelihood(z, x) + ratio)
    return math.log(samples) - torch.cat(parts).logsumexp(0)


class Peer:
    """A network, its optimiser and its data, ready to be timed."""

    def __init__(self, spec):
        if spec["threads"]:
            torch.set_num_threads(spec["threads"])
        torch.manual_seed(0)
        self.spec, self.device = spec, torch.device(spec["device"])
        self.train_data, self.test_data = (self._tensor(np.load(spec[split])) for split in ("train", "test"))
        self.model = MODELS[spec["model"]](spec).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
        self.batches = self._batches()
        self.loss, self.importance = negative_elbo, importance_nll
        if spec["compiled"]:
            mode = "default" if self.device.type == "cpu" else "reduce-overhead"  # the latter is CUDA graphs
            self.loss, self.importance = (torch.compile(f, mode=mode) for f in (negative_elbo, importance_nll))

    def _tensor(self, array):
        array = array.astype(np.int64) if self.spec["model"] == "lstm" else np.moveaxis(array, -1, 1).astype(np.float32)
        return torch.from_numpy(array).to(self.device)

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
        return torch.cat([self.importance(self.model, x, self.spec["samples"]) for x in self._parts(count, size)])

    def seconds(self, what, count):
        """How long ``count`` of ``what`` took, the devices waited for."""
        work = {"train": self.train, "evaluate": self.evaluate, "importance": self.weigh}[what]
        wait = torch.cuda.synchronize if self.device.type == "cuda" else lambda: None
        wait()
        started = time.perf_counter()
        values = work(count)
        wait()
        taken = time.perf_counter() - started
        if not bool(torch.isfinite(values).all()):
            raise ArithmeticError(f"{what} gave a number that is not finite")
        return taken


def main():
    """Answers until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # a library may print
    peer = None
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        try:
            if verb == "load":
                peer = Peer(json.loads(rest))
                answer = f"ready {torch.__version__} {peer.device.type}"
            else:
                what, count = rest.split()
                answer = f"seconds {peer.seconds(what, int(count)):.9f}"
        except Exception as error:  # whatever it is, the one who asked is waiting for a line
            answer = f"error {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
