"""The networks of this project in PyTorch, each ``spec -> module``; nothing of jax or of this project is imported.

Each has our architecture, number for number: as many parameters (the second bias of a recurrent layer apart, which only
PyTorch has), and with our weights our outputs.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

PAD, BOS, FIRST_TARGET = 0, 1, 2


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


class Block(nn.Module):
    """Itself, and what two 3x3 convolutions make of it, each after its activation (He 2016)."""

    def __init__(self, width):
        super().__init__()
        both = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        self.inner = nn.Sequential(*(part for convolution in both for part in (nn.SiLU(), convolution)))

    def forward(self, h):
        """``[b, c, h, w]`` to the same."""
        return h + self.inner(h)


def resnet(spec):
    """Residual blocks between convolutions of stride 2, each width halving the image; the decoder mirrors them."""
    (c, height, width), hidden, d = spec["event"], spec["hidden"], spec["latent_dim"]
    grid = [hidden[-1], height >> len(hidden), width >> len(hidden)]
    flat = math.prod(grid)
    down, up = [], []
    for outer, inner in pairwise([c, *hidden]):
        blocks = [[Block(inner) for _ in range(spec["blocks"])] for _ in range(2)]
        down += [nn.Conv2d(outer, inner, 4, 2, 1), *blocks[0]]
        up = [*blocks[1], *([] if up else [nn.SiLU()]), nn.ConvTranspose2d(inner, outer, 4, 2, 1), *up]
    up = [nn.Linear(d, flat), nn.Unflatten(1, grid), *up]
    return Images([*down, nn.SiLU(), nn.Flatten()], up, flat, d)


class Sentences(nn.Module):
    """A recurrent encoder and an autoregressive decoder of ``tokens [b, t]``; z enters every step and the start."""

    def __init__(self, spec, recurrent):
        super().__init__()
        vocabulary, embedding, latent_dim = spec["vocabulary"], spec["embedding"], spec["latent_dim"]
        (hidden,) = spec["hidden"]
        self.read, self.write = nn.Embedding(vocabulary, embedding), nn.Embedding(vocabulary, embedding)
        self.encoder = recurrent(embedding, hidden, batch_first=True)
        self.decoder = recurrent(embedding + latent_dim, hidden, batch_first=True)
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
        h = torch.tanh(c)[None]
        states, _ = self.decoder(inputs, (h, c[None]) if isinstance(self.decoder, nn.LSTM) else h)
        logits = self.logits(states)[..., FIRST_TARGET:]  # the padding and the beginning are no targets
        target = torch.where(x == PAD, FIRST_TARGET - 1, x) - FIRST_TARGET
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1, reduction="none")
        return -loss.unflatten(0, x.shape).sum(1).unflatten(0, z.shape[:-1])


def lstm(spec):
    """The sequence VAE."""
    return Sentences(spec, nn.LSTM)


def gru(spec):
    """The same with gated recurrent units, the reset gate after the product."""
    return Sentences(spec, nn.GRU)


MODELS = {"mlp": mlp, "conv": conv, "resnet": resnet, "lstm": lstm, "gru": gru}
