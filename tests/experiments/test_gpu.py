"""What only a GPU can show. ``scripts/gpu_check.sh`` runs these where there is one; elsewhere they are skipped.

The script itself is tested everywhere: that it can be read, and that it says in one line when there is no GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.many_runs import SMALL, alone, distance, program, sweep

from vae_jax import objective
from vae_jax.models import mixed
from vae_jax.models.resampling import conv_down, conv_same, conv_up, matrix_down, matrix_same, matrix_up
from vae_jax.randomness import example_keys
from vae_jax.runs.build import build, material
from vae_jax.runs.feeding import begin, fed
from vae_jax.runs.settings import Config
from vae_jax.train.many_runs import run_of

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_check.sh"


@pytest.fixture(scope="module")
def shared():
    return material(Config(**SMALL))


@pytest.fixture
def gpu():
    if jax.default_backend() != "gpu":
        pytest.skip(f"needs a GPU, and JAX uses {jax.devices()[0].device_kind}; scripts/gpu_check.sh runs this on one")
    return jax.devices()[0]


def small_run(shared, **flags):
    return build(Config(**(SMALL | flags)), shared)


@pytest.mark.gpu
def test_narrow_products_do_not_move_the_bound(gpu, shared):
    with jax.default_matmul_precision("highest"):
        r = small_run(shared, hidden="128,128", latent_dim=10, num_steps=400)
        params = alone(r, 400)[0].params
    raw = jnp.asarray(r.dataset.test)
    index = jnp.arange(len(raw))

    def bound(vae, precision):
        def example(raw, key):
            return objective.terms(vae, r.likelihood, params, r.preprocess(key, raw), key, 8)

        with jax.default_matmul_precision(precision):
            terms = jax.jit(jax.vmap(example))(raw, example_keys(jax.random.key(1), index))
        return float(objective.elbo(terms))

    exact = bound(r.vae, "highest")
    assert abs(bound(r.vae, "tensorfloat32") - exact) < 0.01
    assert abs(bound(r.vae, "bfloat16") - exact) < 0.01
    # Everything between the products in eight bits as well: what --dtype=bfloat16 trains with, never what is reported.
    assert abs(bound(mixed(r.vae, jnp.bfloat16), "bfloat16") - exact) < 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_deterministic_gives_the_same_bits_twice(gpu, tmp_path, model):
    kept = []
    for name in ("one", "two"):
        workdir = tmp_path / name
        flags = [f"--model={model}", "--hidden=64", "--num_steps=60", "--log_every=20", "--iw_samples=4"]
        command = [sys.executable, "-m", "experiments.train", f"--workdir={workdir}", "--deterministic", *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        results = json.loads((workdir / "results.json").read_text())
        for timing in ("seconds", "examples_per_second"):
            results.pop(timing)
        kept.append((results, (workdir / "metrics.jsonl").read_text()))
    assert kept[0] == kept[1]


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("ours", "matrix", "shape", "kernel"),
    [
        (conv_down, matrix_down, (16, 16, 3), (4, 4, 3, 32)),
        (conv_up, matrix_up, (8, 8, 32), (4, 4, 3, 32)),
        (conv_same, matrix_same, (16, 16, 32), (3, 3, 32, 32)),
    ],
)
def test_convolutions_are_plain_ones_and_right(gpu, ours, matrix, shape, kernel):
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(s).astype(np.float32) for s in ((8, *shape), kernel))

    def gradients(function):
        return jax.jit(
            jax.value_and_grad(lambda k, x: jnp.mean(jnp.square(jax.vmap(function, (0, None))(x, k))), argnums=(0, 1))
        )

    with jax.default_matmul_precision("highest"):
        assert "stablehlo.convolution" in gradients(ours).lower(kernel, x).as_text()
        found, expected = gradients(ours)(kernel, x), gradients(matrix)(kernel, x)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(jnp.max(jnp.abs(b))))


@pytest.mark.gpu
def test_a_donated_state_takes_no_second_place(gpu, shared):
    r = small_run(shared, hidden="1024,1024")
    begun = begin(r, 10)
    state, in_use = begun.state, []
    with fed(r, 0, begun) as (advance, _):
        for _ in range(4):
            before = jax.tree.leaves(state.params)
            state, metrics = advance(state, 10)
            jax.block_until_ready((state, metrics))
            assert all(leaf.is_deleted() for leaf in before)
            in_use.append(gpu.memory_stats()["bytes_in_use"])
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    assert in_use[-1] - in_use[0] < 0.1 * weights


@pytest.mark.gpu
def test_a_sweep_side_by_side_equals_single_runs(gpu, shared):
    with jax.default_matmul_precision("highest"):
        p = program(shared, [{"beta": beta, "seed": i} for i, beta in enumerate((0.3, 1.0, 3.0, 10.0))])
        state, _ = sweep(p, length=100, side_by_side=4)
        for i, job in enumerate(p.jobs):
            assert distance(run_of(state, i), alone(job.run, 100)[0]) < 1e-4


# ---------------------------------------------------------------- the script, anywhere


def test_bash_can_read_the_script():
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0 and os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize("smi", [None, "exit 9", "exit 0"])
def test_without_a_gpu_it_says_so_in_one_line(tmp_path, smi):
    """No nvidia-smi; one that fails; one that lists nothing."""
    if smi is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!{shutil.which('bash')}\n{smi}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    done = subprocess.run(
        [shutil.which("bash"), SCRIPT],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: nvidia-smi shows no GPU") and done.stderr.count("\n") == 1


def checked(tmp_path, **scripts):
    """The script with a pretended GPU and an interpreter that notes what it is asked; ``scripts`` are their answers."""
    folder, noted = tmp_path / "bin", tmp_path / "asked.txt"
    folder.mkdir()
    answers = {"nvidia-smi": 'case "$*" in *name*) echo Pretended;; *) echo 600.1;; esac', "python3": "exit 0"}
    for name, body in (answers | scripts).items():
        (folder / name).write_text(f'#!{shutil.which("bash")}\necho "$*" >>"{noted}"\n{body}\n')
        (folder / name).chmod(0o755)
    out = tmp_path / "out"
    done = subprocess.run(
        [SCRIPT, out],
        env={"PATH": f"{folder}:/usr/bin:/bin", "VAE_JAX_GPU_PYTHON": str(folder / "python3")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, noted.read_text(), out


def test_an_environment_that_sees_the_gpu_is_used_as_it_is(tmp_path):
    done, asked, out = checked(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pip" not in asked and "tests/experiments/test_gpu.py" in asked
    parts = ("benchmark.kernels", "train --profile", "benchmark.sweep_speed --runs=1,4,16,64,256")
    parts += ("benchmark --results=", "benchmark.sequence_speed")
    places = [asked.index(f"-m experiments.{part}") for part in parts]
    assert places == sorted(places)  # what is asked first comes first
    assert "--side=64 --dtype=bfloat16" in asked and "--runs=64 " in asked
    assert (out / "device.txt").exists() and "--peer=torch" in asked


def test_what_failed_on_the_gpu_is_named_and_the_rest_still_ran(tmp_path):
    done, asked, _ = checked(tmp_path, python3='case "$*" in *sweep_speed*) exit 1;; esac')
    assert done.returncode == 1 and "these failed: sweep_mlp sweep_conv;" in done.stderr
    assert "sequence_speed" in asked


def test_an_interpreter_that_does_not_see_the_gpu_is_refused(tmp_path):
    done, _, _ = checked(tmp_path, python3="exit 1")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "VAE_JAX_GPU_PYTHON" in done.stderr
