# Sourced by the scripts that make a virtual environment: which interpreter, and how one is made once.

# Prints the interpreter to use: $PYTHON, else the first one on the PATH that is new enough.
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

# ensure_venv FOLDER FILE [pip arguments]: makes FOLDER with what FILE lists; returns at once when it is there already.
ensure_venv() {
  local venv="$1" list="$2" python
  shift 2
  # The stamp is written last, so that an interrupted installation is done again.
  local stamp="$venv/.installed"
  if [ -f "$stamp" ] && cmp -s "$list" "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; then
    return
  fi
  python=$(find_python)
  echo "installing into $venv with $("$python" --version) (a few minutes, once)" >&2
  rm -f "$stamp"
  "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r "$list"
  cp "$list" "$stamp"
}
