"""Binaries: each is thin, says its command, its minutes and the number to expect, and is meant to be copied."""
