"""Losses as PyTorch code writes them, in float64, on a small fixed input: what they are and their gradients.

    python tests/likelihoods/torch_losses.py > tests/likelihoods/torch_losses.json         (needs PyTorch)

``test_torch_losses.py`` holds the numbers against ours; where PyTorch can be imported it computes them anew.
"""

from __future__ import annotations

import json
import math

BATCH, DIM, LATENTS, WINDOW, HOP = 3, 12, 4, 8, 4


def inputs():
    """x and the decoder's output in (0, 1) ``[b, 12]``, mean and log variance ``[b, 4]``, as nested lists."""

    def wave(rows, columns, step, low, high):
        middle, half = (low + high) / 2, (high - low) / 2
        return [[middle + half * math.sin(step * (1 + i + columns * b)) for i in range(columns)] for b in range(rows)]

    return {
        "x": wave(BATCH, DIM, 1.7, 0.02, 0.98),
        "xhat": wave(BATCH, DIM, 2.3, 0.05, 0.95),
        "mean": wave(BATCH, LATENTS, 1.1, -1.5, 1.5),
        "logvar": wave(BATCH, LATENTS, 0.7, -2.0, 0.3),
    }


def written(torch):
    """The losses that the grammar reads: as typed there -> ``(x, xhat, mean, logvar) -> scalar`` of PyTorch."""
    F = torch.nn.functional

    def kl(mu, lv):
        return -0.5 * (1 + lv - mu.pow(2) - lv.exp())

    def sums(error):
        return error.sum(1).mean()

    return {
        "mse + 0.00025*kl": lambda x, y, m, v: F.mse_loss(y, x) + 0.00025 * sums(kl(m, v)),
        "0.5*||x-y||^2 + 2*kl_per_element": lambda x, y, m, v: 0.5 * sums((x - y) ** 2) + 2 * kl(m, v).mean(),
        "F.mse_loss(y, x, reduction='sum') - 0.5*torch.sum(1 + lv - mu.pow(2) - lv.exp())": lambda x, y, m, v: (
            F.mse_loss(y, x, reduction="sum") - 0.5 * torch.sum(1 + v - m.pow(2) - v.exp())
        ),
        "F.mse_loss(y, x) + 0.1*kl.sum()": lambda x, y, m, v: F.mse_loss(y, x) + 0.1 * kl(m, v).sum(),
        "l1*sum + 0.01*kl.sum": lambda x, y, m, v: sums((x - y).abs()) + 0.01 * sums(kl(m, v)),
        "F.l1_loss(y, x) + 10*kl.mean()": lambda x, y, m, v: F.l1_loss(y, x) + 10 * kl(m, v).mean(),
        "huber(delta=0.2).sum + 0.3*kl": lambda x, y, m, v: (
            F.huber_loss(y, x, reduction="none", delta=0.2).sum(1).mean() + 0.3 * sums(kl(m, v))
        ),
        "F.smooth_l1_loss(y, x, beta=0.4) + 1e-3*kl": lambda x, y, m, v: (
            F.smooth_l1_loss(y, x, beta=0.4) + 1e-3 * sums(kl(m, v))
        ),
        "charbonnier(eps=0.05).sum + 0.02*kl": lambda x, y, m, v: (
            sums(((x - y) ** 2 + 0.05**2).sqrt()) + 0.02 * sums(kl(m, v))
        ),
        "F.binary_cross_entropy(y, x, reduction='sum') + 4*kl.sum()": lambda x, y, m, v: (
            F.binary_cross_entropy(y, x, reduction="sum") + 4 * kl(m, v).sum()
        ),
        "mse.sum + kl_per_channel(2)": lambda x, y, m, v: (
            sums((x - y) ** 2) + kl(m, v).view(BATCH, 2, 2).sum(2).mean(1).mean()
        ),
        "mse.sum + kl_per_position(2)": lambda x, y, m, v: (
            sums((x - y) ** 2) + kl(m, v).view(BATCH, 2, 2).mean(2).sum(1).mean()
        ),
        "mse.sum + 3*kl_balance(0.8)": lambda x, y, m, v: (
            sums((x - y) ** 2) + 3 * (0.8 * sums(kl(m.detach(), v.detach())) + 0.2 * sums(kl(m, v)))
        ),
        "mse.sum + 0.7*free_bits(0.4)": lambda x, y, m, v: (
            sums((x - y) ** 2) + 0.7 * torch.clamp(kl(m, v).mean(0), min=0.4).sum()
        ),
        "mse.sum + 0.7*kl.clamp(min=0.4).sum(1).mean()": lambda x, y, m, v: (
            sums((x - y) ** 2) + 0.7 * torch.clamp(kl(m, v), min=0.4).sum(1).mean()
        ),
        "mse.sum + 0.7*kl.sum(1).clamp(min=2.2).mean()": lambda x, y, m, v: (
            sums((x - y) ** 2) + 0.7 * torch.clamp(kl(m, v).sum(1), min=2.2).mean()
        ),
        "mse.sum + 0.7*kl.sum(1).mean().clamp(min=9)": lambda x, y, m, v: (
            sums((x - y) ** 2) + 0.7 * torch.clamp(kl(m, v).sum(1).mean(), min=9.0)
        ),
    }


def of_features(torch):
    """Errors of what is computed from x, each ``(x[b, 12], xhat[b, 12]) -> scalar``."""

    def spectra(signal, filters=None):
        window = torch.hann_window(WINDOW, dtype=torch.float64)
        s = torch.stft(signal, WINDOW, HOP, window=window, center=False, return_complex=True)  # [b, bins, frames]
        power = s.real**2 + s.imag**2
        if filters is None:
            return 0.5 * torch.log(power + 1e-10)
        return torch.log(torch.einsum("kf,bft->bkt", filters, torch.sqrt(power + 1e-10)) + 1e-5)

    def mel():
        """Three triangles at 16 Hz, by the definition of the mel scale, one number at a time."""

        def to_mel(f):
            return 2595.0 * math.log10(1.0 + f / 700.0)

        corners = [700.0 * (10.0 ** (to_mel(8.0) * i / 4 / 2595.0) - 1.0) for i in range(5)]
        rows = []
        for low, middle, high in zip(corners, corners[1:], corners[2:]):
            bins = [2.0 * k for k in range(WINDOW // 2 + 1)]
            rows.append([max(0.0, min((f - low) / (middle - low), (high - f) / (high - middle))) for f in bins])
        return torch.tensor(rows, dtype=torch.float64)

    weights = torch.arange(1.0, DIM + 1, dtype=torch.float64) / DIM
    first = torch.sin(torch.arange(DIM * 5, dtype=torch.float64).view(DIM, 5))
    second = torch.cos(torch.arange(15, dtype=torch.float64).view(5, 3))

    def layers(x):
        hidden = torch.tanh(x @ first)
        return [hidden, torch.tanh(hidden @ second)]

    def nll(a, b, sigma):
        return -torch.distributions.Normal(b, sigma).log_prob(a).sum()

    def probability(x, y):
        p = x * y + (1 - x) * (1 - y)
        return -((1 - p) ** 2 * torch.log(p)).sum()

    return {
        "stft_l2": lambda x, y: ((spectra(x) - spectra(y)) ** 2).sum(),
        "stft_l1": lambda x, y: (spectra(x) - spectra(y)).abs().sum(),
        "mel_l1": lambda x, y: (spectra(x, mel()) - spectra(y, mel())).abs().sum(),
        "weighted": lambda x, y: (weights * (x - y) ** 2).sum(),
        "layers": lambda x, y: sum(nll(a, b, s) for a, b, s in zip(layers(x), layers(y), (0.3, 0.7))),
        "focal": probability,
    }


def compute(torch):
    """Every loss -> its value and its gradients, as plain numbers."""
    result = {}
    for group in (written(torch), of_features(torch)):
        for name, loss in group.items():
            names = ("x", "xhat", "mean", "logvar")[: loss.__code__.co_argcount]
            tensors = [torch.tensor(inputs()[key], dtype=torch.float64, requires_grad=True) for key in names]
            value = loss(*tensors)
            gradients = torch.autograd.grad(value, tensors[1:])
            rounded = {n: [float(f"{g:.9g}") for g in v.flatten().tolist()] for n, v in zip(names[1:], gradients)}
            result[name] = {"value": float(f"{value.item():.9g}"), **rounded}
    return result


if __name__ == "__main__":
    import torch

    print(json.dumps(compute(torch), indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]"))
