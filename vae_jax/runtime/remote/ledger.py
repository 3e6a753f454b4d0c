"""The manifests of one run: those in the store, and the one that the local folder was last known to agree with."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from vae_jax.runtime.files import write_atomic
from vae_jax.runtime.remote.manifest import OWN, Manifest, Torn, from_json
from vae_jax.runtime.remote.store import Store, at_once
from vae_jax.types import UserError

MANIFESTS = f"{OWN}/manifests"


class Ledger:
    """Reads and writes manifests.

    Attributes:
      numbers: of all manifests that ``newest`` saw, newest first.
    """

    def __init__(self, url: str, store: Store, local: Path):
        self._url, self._store = url, store
        self._record = local / OWN / "manifest.json"
        self.numbers: list[int] = []

    def newest(self) -> Manifest | None:
        """The newest manifest in the store that can be read; one that a kill tore is passed over.

        Raises:
          UserError: there are manifests, and none can be used.
        """
        found = (re.fullmatch(r"([0-9]{1,18})\.json", name) for name in self._store.names(MANIFESTS))
        self.numbers = sorted((int(match[1]) for match in found if match), reverse=True)
        refused = None
        for number in self.numbers:
            try:
                manifest = self._read(number)
            except ValueError as error:
                refused = refused or f"{self._url}/{_name(number)} cannot be used: {error}"
                if not (number == 1 and isinstance(error, Torn)):
                    continue
                manifest = None  # the first push was killed: before it there was nothing
            if refused:
                print(f"warning: {refused}; what was there before it is used", file=sys.stderr)
            return manifest
        if refused:
            raise UserError(f"{refused}; remove {self._url}/{OWN} to begin anew, or choose another --workdir")
        return None

    def _read(self, number: int) -> Manifest:
        manifest = from_json(self._store.read(_name(number)))
        if manifest.counter != number:
            raise ValueError(f"it says that it is number {manifest.counter}")
        return manifest

    def create(self, manifest: Manifest) -> None:
        """Adds a manifest to the store; fails where that number is taken."""
        self._store.create(_name(manifest.counter), manifest.to_json())

    def remove_others(self, manifest: Manifest) -> None:
        """Removes from the store the manifests that ``newest`` saw beside this one."""
        at_once(self._store.remove, [_name(n) for n in self.numbers if n != manifest.counter])

    def record(self) -> Manifest | None:
        """The manifest that the local folder agreed with; None where there is none."""
        try:
            return from_json(self._record.read_bytes())
        except (OSError, ValueError):
            return None

    def write_record(self, manifest: Manifest | None) -> None:
        """Notes that the local folder agrees with this manifest now."""
        if manifest is None:
            self._record.unlink(missing_ok=True)
            return
        write_atomic(self._record, manifest.to_json())


def _name(counter: int) -> str:
    return f"{MANIFESTS}/{counter:08}.json"
