#!/usr/bin/env bash
# Makes .venv with exactly the versions of requirements.lock; returns at once when it is there already.
# PYTHON chooses the interpreter (any >= 3.11), VAE_JAX_VENV another folder than .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/venv.sh
ensure_venv "${VAE_JAX_VENV:-.venv}" requirements.lock --require-hashes
# Programs of one's own, in any folder, import this clone, and -m experiments.NAME finds it.
for site in "${VAE_JAX_VENV:-.venv}"/lib/python3.*/site-packages; do
  pwd > "$site/vae_jax_clone.pth"
done
