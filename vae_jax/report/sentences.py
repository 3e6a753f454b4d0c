"""What a sequence VAE wrote, as a part of the page: reconstructions, samples, ways from one sentence to another."""

from __future__ import annotations

from vae_jax.report import page
from vae_jax.report.loading import Run


def sentences(run: Run) -> str:
    """Tables of sentences from ``sentences.json``; empty for a run that wrote none."""
    said = run.sentences
    if not said:
        return ""
    heads = ("Sentence of the test split", "The most probable words of its code")
    parts = [page.table(heads, said.get("reconstructions") or [], ("name", "meaning"))]
    parts.append(page.table(("Drawn from the prior",), [[s] for s in said.get("samples") or []], ("name",)))
    for way in said.get("homotopies") or []:
        head = ("On a straight line between two codes",)
        parts.append(page.table(head, [[s] for s in way], ("name",)))
    return "\n".join(part for part in parts if part)
