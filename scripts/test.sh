#!/usr/bin/env bash
# Makes .venv, installs the locked dependencies (the test extra is among them), runs the tests; arguments go to pytest.
# --quick runs only what neither trains nor starts processes, for the inner loop, and says what it leaves out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
# Nearly all of the time is compilation on one core. With arguments somebody looks for something: one process, in order.
workers=(-n auto --maxprocesses=4 --dist=worksteal)
if [ "${1:-}" = --quick ]; then
  shift
  # Chosen by their time with an empty compilation cache.
  files=(tests/test_imports.py tests/core/test_{gaussian,conventions,linear_vae}.py tests/theory/test_forecast.py
    tests/data/test_{check,dataset,npz,pixels,rows,text}.py tests/devices/test_memory.py
    tests/evaluation/test_disentanglement.py tests/runs/test_{grid,settings,weigh}.py tests/report/test_{escaping,reading}.py)
  left=$(find tests -name 'test_*.py' | sort | grep -vxF "$(printf '%s\n' "${files[@]}")" | sed 's|tests/||; s|/test_|/|; s|\.py$||')
  echo "quick: ${#files[@]} files of tests; left out, for scripts/test.sh without --quick:" $left
  set -- "${workers[@]}" "${files[@]}" "$@"
elif [ $# -eq 0 ]; then
  set -- "${workers[@]}"
fi
exec "${VAE_JAX_VENV:-.venv}/bin/python" -m pytest "$@"
