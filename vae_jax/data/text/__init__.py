"""Text in, arrays out: sentences as rows of token ids, with a vocabulary made from the training split."""

from vae_jax.data.text.dataset import is_text, load_text
from vae_jax.data.text.vocabulary import BOS, EOS, PAD, SPECIAL, UNKNOWN, decode, words_of

__all__ = ["BOS", "EOS", "PAD", "SPECIAL", "UNKNOWN", "decode", "is_text", "load_text", "words_of"]
