"""Lossless files by a trained model: its bound as bytes."""
