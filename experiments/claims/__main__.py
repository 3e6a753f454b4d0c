"""What this project claims, checked: expected against measured, one line each.

    python -m experiments.claims                             exact and fixed points: a minute, two CPU cores
    python -m experiments.claims --tier=statistical          what papers report, three seeds each: an hour and a half
    python -m experiments.claims --tier=statistical --full --workdir=runs/claims_full       for an accelerator
    python -m experiments.claims --list
    python -m experiments.claims --only=water_filling,geco_fixed_point

It prints a table and leaves claims.json, claims.html and figures/, and table.json: the numbers of those asked for, of
which ``experiments/results`` has copies. The exit status is 1 where a claim does not hold. A statistical claim needs
data that may not be there (``scripts/prepare_data.sh mnist``; the original files of others in the folder that
VAE_JAX_RAW_DIR names): it is then skipped, and says so. Stopped, the same command goes on where it was; what has been
checked is not run again while the claim and the code behind it are the same.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from pathlib import Path

from vae_jax.errors import UserError
from vae_jax.runtime.config import launch, option


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag."""

    workdir: str = option("runs/claims", "where claims.json, claims.html and the runs live", identity=False)
    only: str | None = option(None, "names of claims, separated by commas, of any tier", identity=False)
    tier: str = option("exact,fixed_point", "the tiers to check, separated by commas", identity=False)
    list: bool = option(False, "name the claims and stop", identity=False)
    full: bool = option(False, "the settings of the papers, for an accelerator")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)


def names_in(text: str, known: tuple[str, ...], flag: str) -> list[str]:
    """``"a,b" -> ["a", "b"]``, each of them known.

    Raises:
      UserError: for an unknown name, with those that are close to it.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3)
            hint = f"close to it: {', '.join(near)}" if near else "--list names them all"
            raise UserError(f"--{flag}={text}: there is no {name!r}; {hint}")
    if not names:
        raise UserError(f"--{flag}={text} names nothing; --list shows what there is")
    return names


def main(config: Config) -> None:
    """Checks the claims that were asked for, and writes and prints the ledger."""
    from vae_jax.runtime.config import claim_workdir
    from vae_jax.runtime.files import write_json
    from vae_jax.runtime.lock import take

    from .catalogue import CLAIMS
    from .ledger import TIERS, Settings, run_all
    from .page import table_lines, write_page

    tiers = names_in(config.tier, TIERS, "tier")
    asked = [claim for claim in CLAIMS if claim.tier in tiers]
    if config.only is not None:
        wanted = names_in(config.only, tuple(claim.name for claim in CLAIMS), "only")
        asked = [claim for claim in CLAIMS if claim.name in wanted]
    if config.list:
        shown = CLAIMS if config.only is None and config.tier == ",".join(TIERS[:2]) else asked
        for claim in shown:
            print(f"{claim.name:38s} {claim.tier:11s} {claim.seconds:6.4g} s  {claim.claim}")
        return
    workdir = Path(config.workdir)
    with take(workdir):
        claim_workdir(workdir, config)
        settings = Settings(workdir / "runs", config.full, config.data_dir)
        entries = run_all(CLAIMS, asked, workdir, settings)
        page = write_page(workdir, entries)
        chosen = {claim.name for claim in asked}
        kept = ("name", "expected", "relation", "tolerance", "measured", "spread", "holds")
        rows = [{key: e[key] for key in kept} for e in entries if e["name"] in chosen]
        write_json(workdir / "table.json", {"rows": rows})
    print("", *table_lines(entries), f"ledger: {workdir / 'claims.json'}", f"page: {page}", sep="\n")
    if any(entry["holds"] is False for entry in entries):
        sys.exit(1)


if __name__ == "__main__":
    launch(main, Config)
