#!/usr/bin/env bash
# Makes .venv, installs the locked dependencies (the test extra is among them), runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
# Nearly all of the time is compilation on one core. With arguments somebody looks for something: one process, in order.
if [ $# -eq 0 ]; then
  set -- -n auto --maxprocesses=4 --dist=worksteal
fi
exec "${VAE_JAX_VENV:-.venv}/bin/python" -m pytest "$@"
