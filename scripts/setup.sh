#!/usr/bin/env bash
# Makes .venv with exactly the versions of requirements.lock; returns at once when it is there already.
# PYTHON chooses the interpreter (any >= 3.11), VAE_JAX_VENV another folder than .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${VAE_JAX_VENV:-.venv}"

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python >= 3.11 with venv was found; install one, or name it: PYTHON=/path/to/python3 $0" >&2
  exit 2
}

# The stamp is written last, so that an interrupted installation is done again.
stamp="$venv/.installed"
if [ -f "$stamp" ] && cmp -s requirements.lock "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0
fi
python=$(find_python)
echo "installing the locked dependencies into $venv with $($python --version) (a few minutes, once)"
rm -f "$stamp"
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
cp requirements.lock "$stamp"
