"""What a device has, and what a run needs of it: the system's own numbers, and arithmetic that can be done by hand."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from helpers import malformed as m

from vae_jax.devices import memory
from vae_jax.runs import build, memory_check
from vae_jax.runs.names import BUILT_IN
from vae_jax.runs.settings import Config, flat
from vae_jax.runs.settled import Settings


def made(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_state_bytes_counts_arrays_and_shapes_alike_and_no_keys():
    tree = {"w": jnp.zeros((3, 5)), "h": jnp.zeros(7, jnp.bfloat16), "n": jnp.int32(1), "key": jax.random.key(0)}
    assert memory.state_bytes(tree) == 3 * 5 * 4 + 7 * 2 + 4
    assert memory.state_bytes(jax.eval_shape(lambda: tree)) == memory.state_bytes(tree)
    wide = {"w": jax.ShapeDtypeStruct((2**31 - 1, 2**31 - 1), jnp.float32)}
    assert memory.state_bytes(wide) == 4 * (2**31 - 1) ** 2


def test_limits_of_either_version_of_control_groups_count_without_their_file_pages(tmp_path):
    root = made(
        tmp_path,
        **{
            "memory__a__memory.limit_in_bytes": "1000\n",
            "memory__a__memory.usage_in_bytes": "700\n",
            "memory__a__memory.stat": "cache 9\ntotal_cache 500\ntotal_shmem 100\n",
            "memory__a__b__memory.limit_in_bytes": f"{2**63 - 4096}\n",
            "memory__a__b__memory.usage_in_bytes": "300\n",
        },
    )
    own = made(tmp_path, v1="5:cpu:/a/b\n4:memory:/a/b\n0::/a/b\n") / "v1"
    assert memory._groups(root, own) == [(1000.0, 300.0)]  # the outer group has a limit, the inner one none
    second = made(
        tmp_path / "second",
        **{"x__memory.max": "2000\n", "x__memory.current": "900\n", "x__memory.stat": "file 400\nshmem 50\n"},
        **{"memory.max": "max\n", "memory.current": "5000\n"},
    )
    assert memory._groups(second, made(tmp_path, v2="0::/x/y\n") / "v2") == [(2000.0, 550.0)]
    # A container sees its own group as the root, whatever its name is outside.
    inside = made(tmp_path / "third", **{"memory.max": "3000\n", "memory.current": "10\n"})
    assert memory._groups(inside, made(tmp_path, v3="0::/../outside\n") / "v3") == [(3000.0, 10.0)]


@pytest.mark.parametrize("content", ["", "4:memory\n", "\0\xff", "0::/\n", "::::::\n", "x" * 1000])
def test_a_system_that_says_nothing_limits_nothing(tmp_path, content):
    (tmp_path / "own").write_text(content)
    assert memory._groups(tmp_path / "none", tmp_path / "own") == []
    assert memory._groups(tmp_path, tmp_path / "missing") == []
    assert memory._meminfo(tmp_path / "missing") == float("inf")
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:   50 kB\nHugePages_Total: x\n")
    assert memory._meminfo(tmp_path / "meminfo") == 50 * 1024


def test_a_cpu_has_its_share_and_an_accelerator_what_it_says(monkeypatch):
    monkeypatch.setattr(memory, "_physical", lambda: 8e9)
    monkeypatch.setattr(memory, "_groups", lambda: [(6e9, 5e9)])
    monkeypatch.setattr(memory, "_meminfo", lambda: 4e9)
    cpu, count = jax.devices("cpu")[0], jax.local_device_count("cpu")
    assert memory.total(cpu) == 6e9 / count and memory.available(cpu) == 1e9 / count
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 5})
    assert memory.total(gpu) == memory.available(gpu) == 5.0
    for silent in (lambda: None, lambda: {}, lambda: 1 / 0):
        assert memory.total(SimpleNamespace(platform="tpu", memory_stats=silent)) == memory.UNKNOWN


def ready(event, levels=None, hidden=(512, 512), **flags):
    """Settings of a run on data of this shape."""
    config = Config(hidden=",".join(map(str, hidden)), sigma=0.1, **{"batch_size": 8, "eval_every": 1000} | flags)
    return Settings(**flat(config) | {"hidden": hidden}, event=event, levels=levels, flags=config, names=BUILT_IN)


def test_what_a_run_needs_is_what_one_counts_by_hand():
    weights = 100 * 10 + 10 + 2 * (10 * 3 + 3) + 3 * 10 + 10 + 10 * 100 + 100
    needed = memory_check.needed(ready((100,), hidden=(10,), latent_dim=3), build.make_vae)
    assert sum(needed.values()) == pytest.approx(memory_check.SAVING * 4 * weights)  # on a CPU a save is the largest
    assert needed["a batch"] == 4 * 8 * (100 + 100 + 3) / jax.device_count()
    assert needed["the order of a chunk"] == 4 * 8 * 100
    half = memory_check.needed(ready((100,), hidden=(10,), latent_dim=3, microbatches=2), build.make_vae)
    assert half["a batch"] == needed["a batch"] / 2
    divided = memory_check.needed(ready((100,), hidden=(10,), latent_dim=3, shard_params=True), build.make_vae)
    assert divided["the model and its optimiser"] == memory_check.TRAINING * 4 * weights / jax.device_count()


@pytest.mark.parametrize(
    ("flags", "levels", "event", "match"),
    [
        ({}, None, (10**6,), "--hidden=512,512 needs 2"),  # more than 20 GB: the columns are what they are
        ({"num_samples": 10**6}, 256, (784,), "--num_samples=1000000"),
        ({"likelihood": "categorical", "batch_size": 10**6}, 256, (28, 28, 1), "--batch_size=1000000"),
        ({"likelihood": "tokens", "model": "recurrent", "hidden": (64,)}, 10**8, (2, 30), "--embedding=128"),
        ({"latent_dim": 10**8}, 256, (64,), "--latent_dim=100000000"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_flag_that_asks_for_most(flags, levels, event, match):
    said = m.refusal(memory_check.check, ready(event, levels, **flags), build.make_vae, 2e9)
    assert said is not None and match in said and "there are 2 GB" in said, said


def test_what_a_resnet_holds_is_counted_and_remat_is_named_where_it_helps(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # on a CPU a batch goes in parts
    flags = {"model": "resnet", "hidden": (32, 64), "batch_size": 256}
    parts = [
        memory_check.needed(ready((128, 128, 3), 256, remat=remat, **flags), build.make_vae)["what its gradient reads"]
        for remat in (False, True)
    ]
    assert parts[0] == parts[1] * 12 / 7
    whole = sum(memory_check.needed(ready((128, 128, 3), 256, remat=True, **flags), build.make_vae).values())
    said = m.refusal(memory_check.check, ready((128, 128, 3), 256, **flags), build.make_vae, 1.01 * whole)
    assert "add --remat, lower it" in said
    assert m.refusal(memory_check.check, ready((128, 128, 3), 256, remat=True, **flags), build.make_vae, whole) is None
    said = m.refusal(memory_check.check, ready((128, 128, 3), 256, **flags), build.make_vae, 0.9 * whole)
    assert said is not None and "--remat" not in said


def test_what_fits_is_taken():
    for flags in ({}, {"model": "conv", "hidden": (256, 256)}, {"likelihood": "categorical"}):
        assert m.refusal(memory_check.check, ready((28, 28, 1), 256, **flags), build.make_vae, 4e9) is None
    # Exactly what it needs is enough.
    whole = sum(memory_check.needed(ready((64,), 256), build.make_vae).values())
    assert m.refusal(memory_check.check, ready((64,), 256), build.make_vae, whole) is None
    assert m.refusal(memory_check.check, ready((64,), 256), build.make_vae, 0.999 * whole) is not None
