#!/usr/bin/env bash
# Makes .venv, installs the locked dependencies (the test extra is among them), runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
exec "${VAE_JAX_VENV:-.venv}/bin/python" -m pytest "$@"
