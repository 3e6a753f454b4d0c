"""Workdirs in an object store: the run lives in a local folder, and a mirror keeps its copy in the store.

``--workdir=gs://bucket/run``, ``s3://bucket/run`` or any other place that fsspec can write to, for one process.

In the store are the run's files under their own names, for people, and ``.mirror/``, for the next machine:

    .mirror/manifests/00000007.json     every file of push 7: its size, its crc32 and the object that holds it
    .mirror/versions/7/metrics.jsonl    what push 7 changed, where the object of that name was still needed

Why a kill at any moment loses at most the work since the last push. A push takes three steps in this order. It writes
what is new or has changed, never into an object that the newest manifest names: a new file by its own name, a changed
one beside it. Then it creates the next manifest, which did not exist before. Only then it removes what the older
manifests named, and copies changed files to their own names for people; no manifest names those. So before the
creation the older manifest holds with every byte of it, after it the newer one does, and a manifest that was torn in
between is not valid JSON and leaves the older one in charge. Each is a picture of the whole run after a save: its
newest checkpoint is complete, and metrics.jsonl reaches to its step, because the loop writes a step's lines before its
checkpoint. Nothing depends on the order in which files arrive, so they go side by side.

Two machines. A manifest is created exclusively where the store can (S3, Google, memory; elsewhere after a look whether
it is there), and a push refuses when the newest manifest is not the one that it made or pulled. What a second writer
had put under a new name by then fails its checksum at the next pull, and the checkpoint before it is used.

Tried with memory:// and file:// (the tests), s3:// and gs:// (s3fs and gcsfs against simulated stores); never yet with
a real bucket. The process must be alone: several processes of one run write into a file system that all of them see.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from vae_jax.runtime.remote.mirroring import Mirror
from vae_jax.runtime.remote.staging import staging_folder
from vae_jax.runtime.remote.store import open_store

DELAYS = (1.0, 4.0)  # seconds between the tries of a push; clients of object stores try several times in each


def is_remote(workdir: str) -> bool:
    """Whether ``workdir`` is a URL; a drive letter (``C://run``) is not the beginning of one."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.:-]+://", workdir) is not None


def open_mirror(url: str, sleep: Callable[[float], None] = time.sleep, delays: Sequence[float] = DELAYS) -> Mirror:
    """The mirror of the run at ``url``; nothing is read or written there yet, and the run's folder not made.

    Args:
      url: where the run is, or will be.
      sleep: waits between two tries, in seconds.
      delays: how long, one number for each try after the first.

    Raises:
      UserError: there is no such kind of store, its package is not installed, or the local folder cannot be.
    """
    store = open_store(url)
    return Mirror(url, store, staging_folder(url), sleep, tuple(delays))
