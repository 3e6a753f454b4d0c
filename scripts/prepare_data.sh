#!/usr/bin/env bash
# Prepares TFDS image sets once, as array_record files that vae_jax then reads without TensorFlow.
# TensorFlow goes into an environment of its own, .venv-prepare, so that training never meets it.
# Written to $VAE_JAX_DATA_DIR, else $TFDS_DATA_DIR, else ~/tensorflow_datasets. PYTHON chooses the interpreter,
# VAE_JAX_PREPARE_VENV another folder than .venv-prepare.
set -euo pipefail

usage="usage: $0 [--manual_dir=FOLDER_WITH_FILES_ALREADY_DOWNLOADED] NAME [NAME ...]    e.g. $0 mnist cifar10"
refuse() {
  echo "error: $1; $usage" >&2
  exit 2
}

names=()
manual_dir=""
for argument in "$@"; do
  case "$argument" in
    -h | --help) echo "$usage"; exit 0 ;;
    --manual_dir=?*) manual_dir="${argument#--manual_dir=}" ;;
    -*) refuse "unknown option $argument" ;;
    "" | *[!A-Za-z0-9_./:-]* | /* | .*) refuse "'$argument' is not the name of a TFDS data set" ;;
    *) names+=("$argument") ;;
  esac
done
[ "${#names[@]}" -gt 0 ] || refuse "name at least one data set"
if [ -n "$manual_dir" ]; then
  [ -d "$manual_dir" ] || refuse "$manual_dir is not a folder"
  manual_dir=$(cd "$manual_dir" && pwd)
fi
data_dir="${VAE_JAX_DATA_DIR:-${TFDS_DATA_DIR:-$HOME/tensorflow_datasets}}"
mkdir -p "$data_dir"
data_dir=$(cd "$data_dir" && pwd)

# TFDS writes beside the final place and renames at the end, so files that are there are whole.
prepared() {
  local depth=(-mindepth 2 -maxdepth 2)  # NAME/VERSION/FILE or NAME/CONFIG/VERSION/FILE
  [ -n "$(find "$data_dir/$1" "${depth[@]}" -name '*.array_record*' -not -path '*/incomplete*' -print -quit 2>/dev/null)" ]
}

missing=()
for name in "${names[@]}"; do
  if prepared "$name"; then echo "$name is already prepared in $data_dir"; else missing+=("$name"); fi
done
[ "${#missing[@]}" -gt 0 ] || exit 0

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/venv.sh
venv="${VAE_JAX_PREPARE_VENV:-.venv-prepare}"
list=$(mktemp)
trap 'rm -f "$list"' EXIT
python=$(find_python)
# Only what preparing needs: the `prepare` extra and those of the dependencies that TFDS uses.
"$python" - >"$list" <<'PYTHON'
import re
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
used = {"tensorflow-datasets", "array-record", "importlib-resources", "pillow"}
print(*(d for d in project["dependencies"] if re.match(r"[\w-]+", d)[0] in used), sep="\n")
print(*project["optional-dependencies"]["prepare"], sep="\n")
PYTHON
ensure_venv "$venv" "$list"

for name in "${missing[@]}"; do
  echo "preparing $name in $data_dir"
  TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$venv/bin/python" - "$name" "$data_dir" "$manual_dir" <<'PYTHON'
import sys

import tensorflow_datasets as tfds

name, data_dir, manual_dir = sys.argv[1:]
if not sys.stderr.isatty():
    tfds.disable_progress_bar()
try:
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
except tfds.core.DatasetNotFoundError:
    sys.exit(print(f"error: TFDS has no data set named {name}", file=sys.stderr) or 2)
try:
    builder.download_and_prepare(
        # Data sets share file names (mnist and fashion_mnist do), so each has a download folder of its own.
        download_dir=f"{data_dir}/downloads/{name.replace('/', '_').replace(':', '_')}",
        # Ready-made copies on a server are in another file format than the one asked for.
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir or None, try_download_gcs=False),
    )
except Exception as error:  # whatever a download or a data set's own code raises
    first_line = (str(error).strip() or repr(error)).splitlines()[0]
    sys.exit(print(f"error: {name} could not be prepared: {first_line}", file=sys.stderr) or 1)
sizes = ", ".join(f"{split.num_examples} {key}" for key, split in builder.info.splits.items())
print(f"prepared {name}: {sizes}")
PYTHON
done
