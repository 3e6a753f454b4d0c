#!/usr/bin/env bash
# A run on Slurm, from the project's root; what follows the script goes to `python -m experiments.train`:
#
#   sbatch --nodes=4 --gpus-per-node=8 --ntasks-per-node=8 --time=4:00:00 scripts/slurm.sh --workdir=SHARED_FOLDER/run
#   sbatch --nodes=4 --cpus-per-task=32 scripts/slurm.sh --workdir=SHARED_FOLDER/run
#
# One task a GPU: under Slurm, JAX gives to each task the device with the task's number on its node. So ask for as many
# tasks as GPUs with --gpus-per-node, and not with --gpus-per-task, which shows each task a single device with the number
# 0. On nodes without GPUs one task a node, with all of its cores. The tasks find each other by Slurm's own variables.
# The workdir has to be a folder that all nodes share. VAE_JAX_MODULE=experiments.sweep runs another binary.
#SBATCH --job-name=vae_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --output=slurm-%j.out
#SBATCH --open-mode=append
# A node that fails, or a job with more rights: Slurm puts the job back into the queue, and it continues.
#SBATCH --requeue
# Two minutes before the time limit the tasks are told to save. Without B:, which would tell this shell only.
#SBATCH --signal=TERM@120
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$PWD}"  # Slurm runs a copy of this script, somewhere else
python="${VAE_JAX_VENV:-.venv}/bin/python"
if [ ! -x "$python" ]; then
  echo "error: there is no $python; submit from the project's root, after scripts/setup.sh" >&2
  exit 2
fi

# scancel and the end of the grace time reach this shell too: then nobody wants the job back.
cancelled=""
trap 'cancelled=yes' TERM

# Without --kill-on-bad-exit the others would wait for a task that has died, up to JAX's time limit.
status=0
srun --kill-on-bad-exit=1 "$python" -m "${VAE_JAX_MODULE:-experiments.train}" "$@" || status=$?

# 143: told to stop, and saved. Anything else is done (0), cannot be done (2) or has failed, and would again.
if [ "$status" -eq 143 ] && [ -z "$cancelled" ]; then
  echo "stopped and saved; back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
