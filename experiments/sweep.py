"""Many runs as one program; the rate-distortion frontier.

    python -m experiments.sweep --workdir=runs/frontier --dataset=mnist --beta=0.1,0.3,1,3,10 --seed=0,1,2
    python -m experiments.sweep --workdir=runs/digits_frontier --beta=log:0.1:100:7 --num_steps=600     half a minute
    python -m experiments.sweep --workdir=runs/search --random_runs=20 --beta=log:0.1:10 --learning_rate=log:3e-4:3e-3 \
        --halving
    python -m experiments.sweep --workdir=runs/one_for_all --beta=log:0.1:10:9 --method=both
    python -m experiments.sweep --workdir=runs/sprites --dataset=sprites --beta=log:0.5:16:6 --seed=0,1,2 --goal=mig

Every flag of ``train`` that is a number or a name takes a list (1,3,10), a range (log:0.01:100:13, lin:0:1:5) or, with
--random_runs, a range to draw from (log:0.01:100). Runs that differ in numbers are trained as one program; flags that
change shapes or code become programs one after the other. The same command again continues a sweep that was stopped;
with another --goal (elbo, rate with --target_kl=25, mig, dci) it reads the runs that are there for that. It leaves
sweep.jsonl and sweep.csv (a line a run), frontier.png, beta_profile.png, report.html, and under runs/ every run as
``train`` would have left it.
"""

from __future__ import annotations

from vae_jax.runs.sweep.flags import Config
from vae_jax.runtime.config import launch


def main(config: Config) -> None:
    """Trains the runs of a sweep, or those that are left, and reports them."""
    from vae_jax.runs.sweep.execution import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
