#!/usr/bin/env bash
# What only a GPU can show, in the order of what is asked first: it runs and gives the same bits twice; the kernels of an
# update and the time between them; many runs side by side; images in bfloat16 and everything else beside PyTorch.
#
#   scripts/gpu_check.sh [FOLDER]      default: runs/gpu/ and the device's name
#
# FOLDER gets device.txt, what each command says (tests.txt, kernels.txt, ...), trace/, sweep_mlp/, bfloat16/, benchmark/,
# sweep_conv/, and the card's own results/benchmark_*.json. A python3 whose JAX sees the GPU and that has what this needs is
# used as it is, so nothing is fetched; VAE_JAX_GPU_PYTHON names another. Where there is none, an environment is made:
# .venv-gpu, or VAE_JAX_GPU_VENV. VAE_JAX_PEER_PYTHON is an interpreter that has PyTorch, to be timed beside (default: the
# same). The benchmark's row "sweep" is of 64 models.
set -euo pipefail

if ! name=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null) || [ -z "$name" ]; then
  echo "error: nvidia-smi shows no GPU here; run this on a machine with an NVIDIA GPU and its driver" >&2
  exit 2
fi
name="${name%%$'\n'*}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder="${1:-runs/gpu/${name//[^A-Za-z0-9]/_}}"
mkdir -p "$folder"
nvidia-smi >"$folder/device.txt"

sees_gpu() { "$1" -c 'import jax, sys; sys.exit(jax.default_backend() != "gpu")' >/dev/null 2>&1; }
# What the tests and the benchmark import: more than that is left to runs on data of their own.
needed="absl, flax, fsspec, hypothesis, matplotlib, optax, orbax.checkpoint, PIL, pytest, sklearn, tqdm"
has_enough() { "$1" -c "import $needed" >/dev/null 2>&1; }

python="${VAE_JAX_GPU_PYTHON:-python3}"
if sees_gpu "$python" && has_enough "$python"; then
  echo "using $python as it is" >&2
elif [ -n "${VAE_JAX_GPU_PYTHON:-}" ]; then
  echo "error: VAE_JAX_GPU_PYTHON=$python: its JAX does not see the $name, or it cannot import one of $needed" >&2
  exit 2
else
  source scripts/venv.sh
  venv="${VAE_JAX_GPU_VENV:-.venv-gpu}"
  ensure_venv "$venv" requirements.lock --require-hashes
  python="$venv/bin/python"
  if ! sees_gpu "$python"; then
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader)
    # CUDA 13 needs a driver of the 580 series or later.
    if [ "${driver%%.*}" -ge 580 ]; then cuda=cuda13; else cuda=cuda12; fi
    version=$("$python" -c 'from importlib.metadata import version; print(version("jax"))')
    echo "installing jax[$cuda] $version into $venv" >&2
    "$python" -m pip install --quiet --disable-pip-version-check "jax[$cuda]==$version"
    if ! sees_gpu "$python"; then
      echo "error: jax[$cuda] in $venv does not see the $name; its own message: $python -c 'import jax; jax.devices(\"gpu\")'" >&2
      exit 2
    fi
  fi
fi

peer=()
peer_python="${VAE_JAX_PEER_PYTHON:-$python}"
if "$peer_python" -c 'import torch' >/dev/null 2>&1; then
  peer=(--peer=torch "--peer_python=$peer_python")
else
  echo "no PyTorch in $peer_python: the benchmark has no peer (VAE_JAX_PEER_PYTHON names an interpreter that has it)" >&2
fi

# Tests start programs of their own, which have to find room beside them.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
failed=""
attempt() { # NAME COMMAND...: what fails is said at the end, and the rest still runs
  local what="$1"
  shift
  echo "== $what"
  "$@" 2>&1 | tee "$folder/$what.txt" || failed="$failed $what"
}
attempt tests "$python" -m pytest -q -m gpu tests/experiments/test_gpu.py
attempt kernels "$python" -m experiments.benchmark.kernels
attempt traced "$python" -m experiments.train --profile --num_steps=300 --log_every=100 "--workdir=$folder/trace"
attempt trace "$python" -m experiments.benchmark.kernels "--profile=$folder/trace/profile"
attempt sweep_mlp "$python" -m experiments.benchmark.sweep_speed --runs=1,4,16,64,256 "--workdir=$folder/sweep_mlp"
timed=("$python" -m experiments.benchmark "--results=$folder/results" ${peer[@]+"${peer[@]}"})
attempt bfloat16 "${timed[@]}" --models=conv,resnet --side=64 --dtype=bfloat16 --modes=chunk,evaluate "--workdir=$folder/bfloat16"
attempt benchmark "${timed[@]}" --runs=64 "--workdir=$folder/benchmark"
attempt sweep_conv "$python" -m experiments.benchmark.sweep_speed --runs=1,4,16,64 --model=conv --side=64 "--workdir=$folder/sweep_conv"
attempt sequence_speed "$python" -m experiments.benchmark.sequence_speed
if [ -n "$failed" ]; then
  echo "error: on $name these failed:$failed; what they said is in $folder" >&2
  exit 1
fi
echo "figures of $name: $folder"
