"""Workdirs in an object store: the run lives in a local folder, and a mirror keeps its copy in the store.

``--workdir=gs://bucket/run``, ``s3://bucket/run`` or any other place that fsspec can write to, for one process: several
processes of one run write into a file system that all of them see. In the store are the run's files under their own
names, for people, and ``.mirror/``, for the next machine:

    .mirror/manifests/00000007.json     every file of push 7: its size, its crc32 and the object that holds it
    .mirror/versions/7/metrics.jsonl    what push 7 changed, where the object of that name was still needed

Why a kill at any moment loses at most the work since the last push. A push takes three steps in this order. It writes
what is new or has changed, never into an object that the newest manifest names: a new file by its own name, a changed
one beside it. Then it creates the next manifest. Only then it copies changed files to their own names, for people, and
removes what the older manifests named, and these. So before the creation the older manifest holds with every byte of
it, after it the newer one does, and a manifest that was torn in between is no JSON and leaves the older one in charge.
Each is a picture of the whole run after a save: the loop writes a step's lines in metrics.jsonl before its checkpoint.

Two machines. A manifest is created exclusively where the store can (S3, Google, memory; elsewhere after a look whether
it is there), and a push refuses when the newest manifest is not the one that it made or pulled. What a second writer
had put under a new name by then fails its checksum at the next pull, and the checkpoint before it is used.

Why not Orbax at the URL: version 0.12 saves to gs:// alone (it takes s3:// for a path that is not absolute, and its
etils.epath knows neither memory:// nor file://), and it has no word for a second writer or for the run's other files.

Tried with memory:// and file:// (the tests), s3:// and gs:// (s3fs and gcsfs against simulated stores); never yet with
a real bucket. A run's own ``--workdir=file://D`` is D itself, without a mirror.
"""

from __future__ import annotations

import re

from vae_jax.runtime.remote.mirror import Mirror
from vae_jax.runtime.remote.store import local_path

__all__ = ["Mirror", "is_remote", "local_path"]


def is_remote(workdir: str) -> bool:
    """Whether ``workdir`` is a URL; a drive letter (``C://run``) is not the beginning of one."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.:-]+://", workdir) is not None
