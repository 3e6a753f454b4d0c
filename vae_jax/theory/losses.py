"""A loss as a person writes it, read into its terms: ``parse_loss("mean_se + 0.00025*sum_kl")``.

The grammar is a sum of terms with numbers before them, and nothing is evaluated:

    loss    a sum of products; ``, name=number`` after it gives names their values: ``mse + w*kl, w=0.00025``
    number  2, 1e-6, 1/2; D, M and B are the values of an example, the latents and the batch
    term    a word (``loss_words.py``), as it is said (mse, l1, bce, huber(delta=1), kl, kl_per_element, free_bits(0.5))
            or as a library writes it (F.mse_loss(x_hat, x, reduction="sum"), -0.5*torch.sum(1 + logvar - mu**2 -
            logvar.exp())); or a formula: ||x - xhat||^2, |x - xhat|, (x - xhat)**2
    over    mean_se, se.mean, se*mean, mean(se): over one example; .batch_sum for the batch. With the parentheses of a
            library, ``kl.sum()``, ``torch.mean(...)``, ``reduction="sum"``, it is over the batch too;
            kl.sum(1).mean() is a sum over the latents and a mean over the batch
    floor   free_bits(0.5), kl.clamp(min=0.5), max(kl, 1)

``loss_weights.weigh`` says what the terms weigh.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vae_jax.theory.loss_reader import Parser
from vae_jax.theory.loss_words import Term
from vae_jax.types import UserError


class Loss(NamedTuple):
    """A loss, read.

    Attributes:
      text: as it was written.
      terms: in the order written.
    """

    text: str
    terms: tuple[Term, ...]

    @property
    def errors(self) -> tuple[Term, ...]:
        """The terms that compare x with its reconstruction."""
        return tuple(term for term in self.terms if term.kind != "kl")

    @property
    def kl(self) -> tuple[Term, ...]:
        """The terms that are a KL, usually one."""
        return tuple(term for term in self.terms if term.kind == "kl")


def parse_loss(text: str, weight: float | None = None) -> Loss:
    """Reads a loss; see the grammar at the head of this file.

    Args:
      text: the loss.
      weight: the value of a name of a number (``beta*kl``) that the text gives none.

    Returns:
      Its ``Loss``.

    Raises:
      UserError: in one line, with the word that is not understood between >> and <<.

    Example:
      >>> [(t.kind, t.over, t.factor) for t in parse_loss("mean_se + 0.00025*sum_kl").terms]
      [('squared_error', 'mean', 1.0), ('kl', 'sum', 0.00025)]
    """
    parser = Parser(text, weight)
    terms = [_settled(term) for term in parser.whole()]
    if not any(term.kind != "kl" for term in terms):
        raise UserError(f"--loss={text}: there is no error of x in it, such as mse.sum or l1.mean")
    return Loss(text, tuple(terms))


def _settled(term: Term) -> Term:
    """Fills in the reduction over an example where none was written: PyTorch's default, a mean; of a KL the sum."""
    if term.over is None and term.kind in ("spectrum", "features", "adversarial", "other"):
        return term._replace(over="sum")  # one number, of more or fewer parts than x has
    if term.over is None:
        said = term.kind == "kl" or re.match(r"m[sa]e|mean", term.words.lower())
        return term._replace(over="sum" if term.kind == "kl" else "mean", assumed=not said)
    return term
