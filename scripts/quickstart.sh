#!/usr/bin/env bash
# From a fresh machine to a trained VAE and its report: makes .venv, installs the locked dependencies, runs the main job.
# Further flags are handed on: scripts/quickstart.sh --latent_dim=10 --workdir=runs/ten
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
exec "${VAE_JAX_VENV:-.venv}/bin/python" -m experiments.train --workdir=runs/quickstart "$@"
