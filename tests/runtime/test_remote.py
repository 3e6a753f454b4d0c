"""A workdir in an object store: what a push leaves at any kill, which side wins, and what is refused."""

from __future__ import annotations

import json
import os
import random
import stat
import sys
import threading
import zlib
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from vae_jax.runtime.remote import Mirror, is_remote
from vae_jax.runtime.remote.manifest import from_json
from vae_jax.types import UserError

URL = "dying://bucket/run"
ROOT = "/bucket/run"
KEEP = 2  # checkpoints that a run keeps


class Killed(BaseException):
    """The process ended here."""


class Dying(MemoryFileSystem):
    """A store in memory that fails when it is told to.

    Attributes:
      left: operations until the process dies, for good; None for never.
      tear: the operation during which it dies is half done, as on a store that does not write at once.
      fault: ``(operation, path)``, called before each; what it raises, the operation raises.
    """

    protocol = "dying"
    store = {}  # noqa: RUF012 (fsspec's own way)
    pseudo_dirs = [""]  # noqa: RUF012
    left, tear, fault, lock = None, False, None, threading.Lock()

    @classmethod
    def reset(cls):
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.alive()

    @classmethod
    def alive(cls):
        cls.left, cls.tear, cls.fault = None, False, None

    def _counts(self, operation, path, tear=None):
        if Dying.fault is not None:
            Dying.fault(operation, path)
        with Dying.lock:
            if Dying.left is None:
                return
            Dying.left -= 1
            if Dying.left == -1 and tear is not None and Dying.tear:
                tear()
            if Dying.left < 0:
                raise Killed

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("dying://"))

    def _half(self, path, content):
        MemoryFileSystem.pipe_file(self, path, content[: len(content) // 2])

    def put_file(self, lpath, rpath, **kwargs):
        content = Path(lpath).read_bytes()
        self._counts("put", rpath, lambda: self._half(rpath, content))
        MemoryFileSystem.pipe_file(self, rpath, content)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._counts("pipe", path, lambda: self._half(path, value))
        super().pipe_file(path, value, mode)

    def cp_file(self, path1, path2, **kwargs):
        self._counts("copy", path2, lambda: self._half(path2, self.store[path1].getvalue()))
        super().cp_file(path1, path2)

    def cat_file(self, path, start=None, end=None, **kwargs):
        self._counts("cat", path)
        return super().cat_file(path, start, end)

    def get_file(self, rpath, lpath, **kwargs):
        self._counts("get", rpath)
        Path(lpath).write_bytes(MemoryFileSystem.cat_file(self, rpath))

    def rm_file(self, path):
        self._counts("rm", path)
        super().rm_file(path)

    def ls(self, path, detail=True, **kwargs):
        self._counts("ls", path)
        return super().ls(path, detail=detail)

    def find(self, path, **kwargs):
        self._counts("find", path)
        return super().find(path, **kwargs)


fsspec.register_implementation("dying", Dying, clobber=True)


@pytest.fixture(autouse=True)
def store():
    Dying.reset()
    MemoryFileSystem.store.clear()
    yield
    Dying.reset()
    MemoryFileSystem.store.clear()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """``machine("b")``: a mirror as a new process on the machine of that name opens it; its sleeps are noted."""

    def begin(name, url=URL, pull=True):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        mirror = Mirror(url)
        mirror.slept = []
        monkeypatch.setattr("vae_jax.runtime.remote.mirror.time.sleep", mirror.slept.append)
        if pull:
            mirror.pull()
        return mirror

    return begin


# ---------------------------------------------------------------- a run, as the loop writes one


def work(local: Path, step: int) -> None:
    """Ten more steps: their lines first, then the checkpoint of ``step``, and old checkpoints go."""
    with (local / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": s}) + "\n" for s in range(step - 10, step))
    with (local / "events.out.tfevents.1").open("ab") as file:
        file.write(os.urandom(30))
    (local / "config.json").write_text("{}\n")
    folder = local / "checkpoints" / str(step)
    # Orbax gives data files random names, so a step that is saved again has others.
    contents = {"meta": os.urandom(20), f"d/{os.urandom(4).hex()}": os.urandom(50), "d/empty": b""}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    index = {name: zlib.crc32(content) for name, content in contents.items()}
    (folder / "index.json").write_text(json.dumps(index))
    for old in sorted(steps(local))[:-KEEP]:
        for path in sorted((local / "checkpoints" / str(old)).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (local / "checkpoints" / str(old)).rmdir()


def steps(local: Path) -> list[int]:
    folder = local / "checkpoints"
    return [int(path.name) for path in folder.iterdir()] if folder.exists() else []


def resume(local: Path) -> int:
    """The step of the newest checkpoint, which has to be whole; metrics.jsonl has to reach it, and is cut there."""
    step = max(steps(local), default=0)
    if step:
        folder = local / "checkpoints" / str(step)
        index = json.loads((folder / "index.json").read_text())
        assert {name: zlib.crc32((folder / name).read_bytes()) for name in index} == index
        assert len([path for path in folder.rglob("*") if path.is_file()]) == len(index) + 1
    path = local / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    kept = lines[:step]
    assert [json.loads(line)["step"] for line in kept] == list(range(step))
    if path.exists():
        path.write_text("".join(line + "\n" for line in kept))
    return step


def tree(local: Path) -> dict[str, bytes]:
    """What of a folder belongs to the run."""
    return {
        path.relative_to(local).as_posix(): path.read_bytes()
        for path in local.rglob("*")
        if path.is_file() and ".mirror" not in path.parts
    }


def objects(own: bool = True) -> dict[str, bytes]:
    """What is in the store, by path in the workdir."""
    found = {name.removeprefix(ROOT + "/"): f.getvalue() for name, f in Dying.store.items() if name.startswith(ROOT)}
    return {name: content for name, content in found.items() if own or not name.startswith(".mirror/")}


def replace_object(name: str, content: bytes | None) -> None:
    del Dying.store[f"{ROOT}/{name}"]
    if content is not None:
        MemoryFileSystem.pipe_file(Dying(), f"{ROOT}/{name}", content)


# ---------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("workdir", "remote"),
    [
        *((url, True) for url in ("gs://b/run", "s3://b/r", "memory://r", "file:///r", "simplecache::gs://b/r")),
        *((path, False) for path in ("runs/a", "/runs/a", "C:\\runs", "C://runs", "c:/runs", "a/b://c", "", "://x")),
    ],
)
def test_what_is_remote(workdir, remote):
    assert is_remote(workdir) is remote


@pytest.mark.parametrize(
    ("url", "package"), [("gs://b/run", "gcsfs"), ("gcs://b/run", "gcsfs"), ("s3://b/run", "s3fs")]
)
def test_a_missing_package_is_named(monkeypatch, machine, url, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(UserError, match=f"{url}.*nstall {package}"):
        machine("a", url)


@pytest.mark.parametrize("url", ["nowhere://b/run", "simplecache::memory://run", "memory://", "file:///", "dying:///"])
def test_what_is_no_place_is_refused(machine, tmp_path, url):
    with pytest.raises(UserError) as caught:
        machine("a", url)
    assert url in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_the_local_folder_is_private_and_one_for_each_url(machine, tmp_path):
    local = machine("a").local
    assert local.is_relative_to(tmp_path / "a" / "vae_jax" / "workdirs")
    assert local.name.startswith("run-")
    for folder in (local, local.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert machine("a", URL + "/").local == local
    assert machine("a", "dying://other/run").local != local


def test_a_home_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        Mirror(URL)


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("scheme", ["dying", "memory", "file"])
def test_a_new_machine_gets_the_run(machine, tmp_path, scheme):
    url = f"file://{tmp_path}/store/run" if scheme == "file" else f"{scheme}://bucket/run"
    a = machine("a", url)
    for step in (10, 20, 30):
        work(a.local, step)
        assert a.push()
    (a.local / "results.json").write_text('{"elbo": -1}')
    assert a.push(final=True)
    b = machine("b", url)
    assert tree(b.local) == tree(a.local) and resume(b.local) == 30
    work(b.local, 40)
    assert b.push(final=True)
    assert tree(machine("c", url).local) == tree(b.local)
    if scheme == "file":  # what people see, old checkpoints and their folders gone
        seen = tmp_path / "store" / "run"
        assert tree(seen) == tree(b.local)
        assert sorted(path.name for path in (seen / "checkpoints").iterdir()) == ["30", "40"]


def test_people_see_the_newest_of_each_file_and_nothing_else_of_the_run(machine):
    a = machine("a")
    for step in (10, 20, 30, 40):
        work(a.local, step)
        a.push()
        assert objects(own=False) == tree(a.local)
    named = {entry.object for entry in newest_manifest().files.values()}
    assert {name for name in objects() if name.startswith(".mirror/versions/")} <= named
    assert len([name for name in objects() if name.startswith(".mirror/manifests/")]) == 1


def newest_manifest():
    return from_json(objects()[max(name for name in objects() if name.startswith(".mirror/manifests/"))])


def test_only_what_has_changed_is_sent(machine):
    a = machine("a")
    work(a.local, 10)
    a.push()
    before, sent = objects(), []
    Dying.fault = lambda operation, path: sent.append((operation, path))
    a.push()
    assert objects() == before and not {"put", "pipe", "copy", "rm"} & {operation for operation, _ in sent}
    work(a.local, 20)
    a.push()
    puts = {path.removeprefix(ROOT) for operation, path in sent if operation == "put"}
    assert not any("checkpoints/10/" in path or "config.json" in path for path in puts)
    assert {path.rpartition("/")[2] for path in puts} >= {"metrics.jsonl", "index.json", "meta"}


def test_what_is_not_the_runs_stays_here(machine, tmp_path):
    a = machine("a")
    work(a.local, 10)
    expected = tree(a.local)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (a.local / "link").symlink_to(outside / "secret")
    (a.local / "folder").symlink_to(outside)
    os.mkfifo(a.local / "pipe")
    for name in (".lock", "runs/x/.lock", "results.json.tmp", "checkpoints/20.orbax-checkpoint-tmp-3/d/x"):
        (a.local / name).parent.mkdir(parents=True, exist_ok=True)
        (a.local / name).write_text("x")
    assert a.push(final=True)
    assert objects(own=False) == expected


def test_names_are_not_patterns(machine):
    a = machine("a")
    for run in ("runs/beta=[1]", "runs/beta=1", "runs/b*", "runs/?eta=1"):
        work(a.local / run, 10) if (a.local / run).mkdir(parents=True) is None else None
    a.push()
    for step in (20, 30):
        work(a.local / "runs/beta=[1]", step)
        work(a.local / "runs/b*", step)
        a.push()
    assert objects(own=False) == tree(a.local) and steps(a.local / "runs/beta=1") == [10]


def test_what_others_keep_below_the_workdir_is_left_alone(machine):
    others = ("notes.txt", "other/checkpoints/5/x", "checkpoint/7/y")
    for name in others:
        MemoryFileSystem.pipe_file(Dying(), f"{ROOT}/{name}", b"theirs")
    a = machine("a")
    for step in (10, 20, 30):
        work(a.local, step)
        a.push(final=True)
    assert [objects()[name] for name in others] == [b"theirs"] * 3
    assert tree(machine("b").local) == tree(a.local)


# ---------------------------------------------------------------- kills


def killed_at(k: int, tear: bool, action) -> bool:
    """Whether the action was killed; operation ``k`` is the first that is not done."""
    Dying.left, Dying.tear = k, tear
    try:
        action()
        return False
    except Killed:
        return True
    finally:
        Dying.alive()


@pytest.mark.parametrize("tear", [False, True])
@pytest.mark.parametrize("pushed", [0, 1, 2])
def test_a_push_killed_at_any_operation_loses_one_interval_at_most(machine, tmp_path, pushed, tear):
    """After every possible kill: a new machine's pull, and the same machine's; both go on; nothing is left over."""
    k, was_killed, before_or_after = -1, True, set()
    while was_killed:
        k += 1
        Dying.reset()
        a = machine(f"a{k}")
        for step in range(10, 10 * pushed + 1, 10):
            work(a.local, step)
            assert a.push()
        last = 10 * (pushed + 1)
        work(a.local, last)
        was_killed = killed_at(k, tear, a.push)
        frozen = {name: f.getvalue() for name, f in Dying.store.items()}

        b = machine(f"b{k}")
        step = resume(b.local)
        assert step in ((last - 10, last) if was_killed else (last,))
        before_or_after.add(step)
        work(b.local, step + 10)
        assert b.push(final=True)
        c = machine(f"c{k}")
        assert tree(c.local) == tree(b.local) == objects(own=False) and resume(c.local) == step + 10

        Dying.store.clear()
        for name, content in frozen.items():
            MemoryFileSystem.pipe_file(Dying(), name, content)
        again = machine(f"a{k}")
        assert resume(again.local) == last  # this machine has what it did not push
        work(again.local, last + 10)
        assert again.push(final=True)
        assert tree(machine(f"d{k}").local) == tree(again.local) == objects(own=False)
    assert k > 10 and before_or_after == {last - 10, last}


def test_a_pull_killed_at_any_operation_is_made_good_by_the_next(machine):
    a = machine("a")
    for step in (10, 20, 30):
        work(a.local, step)
        a.push()
    old = machine("old")  # was here before, and is behind by now
    work(a.local, 40)
    a.push()
    assert resume(old.local) == 30
    k, was_killed = -1, True
    while was_killed:
        k += 1
        new = machine(f"b{k}", pull=False)
        was_killed = killed_at(k, False, new.pull)
        killed_at(k, False, machine("old", pull=False).pull)
        assert tree(machine(f"b{k}").local) == tree(a.local)
    assert tree(machine("old").local) == tree(a.local) and k > 10


def test_a_campaign_of_kills_on_two_machines(machine):
    """Processes on two machines take turns, each killed at a random operation of its pull or of one of its pushes."""
    rng = random.Random(0)
    reached = kills = 0
    for _ in range(100):
        mirror = machine(rng.choice("ab"), pull=False)
        if killed_at(rng.choice([2, 5, 10, 10**6]), rng.random() < 0.5, mirror.pull):
            kills += 1
            continue
        step = resume(mirror.local)
        assert step >= reached
        for _ in range(rng.randint(1, 3)):
            step += 10
            work(mirror.local, step)
            if killed_at(rng.choice([3, 8, 12, 15, 18, 25, 10**6]), rng.random() < 0.5, mirror.push):
                kills += 1
                break
            reached = step
    assert kills > 50 and reached > 300
    last = machine("c")
    assert resume(last.local) >= reached
    work(last.local, max(steps(last.local)) + 10)
    assert last.push(final=True) and objects(own=False) == tree(last.local)


# ---------------------------------------------------------------- which side wins


def test_work_that_was_not_pushed_stays_where_nobody_went_on(machine):
    a = machine("a")
    work(a.local, 10)
    a.push()
    work(a.local, 20)
    mine = tree(a.local)
    again = machine("a")
    assert tree(again.local) == mine
    again.push(final=True)
    assert resume(machine("b").local) == 20


def test_work_before_the_first_push_stays(machine):
    a = machine("a")
    work(a.local, 10)
    assert resume(machine("a").local) == 10


def test_the_store_wins_where_another_machine_went_on(machine):
    a = machine("a")
    work(a.local, 10)
    a.push()
    work(a.local, 20)
    (a.local / "mine.txt").write_text("x")
    (a.local / ".lock").write_text("held")
    b = machine("b")
    for step in (20, 30, 40):
        work(b.local, step)
        b.push()
    again = machine("a")
    assert (again.local / ".lock").read_text() == "held"
    assert {k: v for k, v in tree(again.local).items() if k != ".lock"} == tree(b.local)
    assert steps(again.local) == [30, 40] or sorted(steps(again.local)) == [30, 40]


@pytest.mark.parametrize("damage", ["changed", "half removed", "removed"])
def test_a_checkpoint_that_was_damaged_here_is_fetched_whole(machine, damage):
    a = machine("a")
    work(a.local, 10)
    a.push()
    whole = tree(a.local)
    folder = a.local / "checkpoints" / "10"
    if damage == "changed":
        (folder / "meta").write_bytes(b"other")
        (folder / "d" / "extra").write_bytes(b"of another save")
    for path in sorted(folder.rglob("*"), reverse=True) if damage != "changed" else ():
        if damage == "removed" or path.name == "index.json":
            path.rmdir() if path.is_dir() else path.unlink()
    assert tree(a.local) != whole
    assert tree(machine("a").local) == whole


def test_a_run_that_was_removed_from_the_store_begins_anew_and_its_copy_is_kept(machine, capsys):
    a = machine("a")
    work(a.local, 10)
    a.push()
    kept = tree(a.local)
    (a.local / ".lock").write_text("held")
    Dying.reset()
    again = machine("a")
    assert tree(again.local) == {".lock": b"held"}
    assert "begins anew" in capsys.readouterr().err
    aside = [path for path in again.local.parent.iterdir() if "-aside-" in path.name]
    assert len(aside) == 1 and tree(aside[0]) == kept
    work(again.local, 10)
    assert again.push(final=True) and tree(machine("b").local) == objects(own=False)


def test_a_second_writer_is_refused_and_changes_nothing(machine):
    a = machine("a")
    work(a.local, 10)
    a.push()
    b = machine("b")
    for mirror in (a, b):
        work(mirror.local, 20)
    assert b.push()
    before = objects()
    for final in (False, True):
        with pytest.raises(UserError, match="is being written by another run") as caught:
            a.push(final=final)
        assert "\n" not in str(caught.value) and str(a.local) in str(caught.value)
    assert objects() == before and a.slept == []


def test_two_runs_that_begin_together_are_found_out(machine):
    a, b = machine("a"), machine("b")
    for mirror in (a, b):
        work(mirror.local, 10)
    a.push()
    with pytest.raises(UserError, match="another run"):
        b.push()
    assert tree(machine("c").local) == tree(a.local)


def test_a_second_writer_between_the_look_and_the_manifest_is_refused(machine):
    a = machine("a")
    work(a.local, 10)
    a.push()
    b = machine("b")
    for mirror in (a, b):
        work(mirror.local, 20)

    def overtake(operation, path):
        if operation == "pipe" and "/manifests/" in path:
            Dying.fault = None
            assert b.push()

    Dying.fault = overtake
    with pytest.raises(UserError, match="another run"):
        a.push()
    # What both wrote under one name is found damaged, and the checkpoint before is used.
    assert resume(machine("c").local) in (10, 20)
    assert newest_manifest().counter == 2


def test_a_local_folder_that_was_emptied_does_not_empty_the_store(machine):
    a = machine("a")
    work(a.local, 10)
    a.push()
    before = objects()
    for path in sorted(a.local.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match="was emptied"):
        a.push()
    assert objects() == before and resume(machine("a").local) == 10


def test_a_pull_while_another_run_pushes_takes_the_newer(machine):
    a = machine("a")
    for step in (10, 20):
        work(a.local, step)
        a.push()

    def overtake(operation, path):
        if operation == "get" and path == f"{ROOT}/{of_push_2}":
            Dying.fault = None
            for step in (30, 40):  # removes what the puller is about to fetch
                work(a.local, step)
                a.push()

    of_push_2 = object_of("metrics.jsonl")
    b = machine("b", pull=False)
    Dying.fault = overtake
    b.pull()
    assert tree(b.local) == tree(a.local) and b.slept == [1.0]


# ---------------------------------------------------------------- a store that does not answer


def failing(times: int, error: Exception, only=("ls", "put", "pipe", "cat", "get")):
    """The first ``times`` operations raise."""
    left = [times]

    def fault(operation, path):
        if operation in only and left[0] > 0:
            left[0] -= 1
            raise error

    return fault


@pytest.mark.parametrize(
    "error", [OSError(5, "no network"), TimeoutError(), ConnectionResetError("reset"), KeyError("x")]
)
def test_a_push_tries_again(machine, error):
    a = machine("a")
    work(a.local, 10)
    Dying.fault = failing(2, error, only=("ls", "pipe"))
    assert a.push()
    assert a.slept == [1.0, 4.0]
    Dying.alive()
    assert tree(machine("b").local) == tree(a.local)


def test_a_failing_push_is_a_warning_and_the_next_brings_everything(machine, capsys):
    a = machine("a")
    work(a.local, 10)
    a.push()
    for step in (20, 30, 40):
        work(a.local, step)
        Dying.fault = failing(99, OSError(5, "no network"), only=("pipe",))
        assert not a.push()
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "no network" in err and str(a.local) in err
    assert a.slept == [1.0, 4.0] * 3
    assert resume(machine_without_faults(machine, "b").local) == 10
    assert a.push()
    assert objects(own=False) == tree(a.local)  # with the leavings of the pushes that failed


def machine_without_faults(machine, name):
    Dying.alive()
    return machine(name)


def test_what_was_sent_is_not_sent_again_by_the_next_try(machine):
    a = machine("a")
    work(a.local, 10)
    puts = []
    Dying.fault = failing(1, OSError(5, "no network"), only=("pipe",))
    fail = Dying.fault
    Dying.fault = lambda operation, path: (puts.append(path) if operation == "put" else None, fail(operation, path))
    assert a.push()
    assert len(puts) == len(set(puts)) == len(tree(a.local))


def test_the_last_push_must_not_fail(machine):
    a = machine("a")
    work(a.local, 10)
    Dying.fault = failing(99, OSError(5, "no network"))
    with pytest.raises(UserError) as caught:
        a.push(final=True)
    assert "no network" in str(caught.value) and str(a.local) in str(caught.value) and "\n" not in str(caught.value)
    Dying.alive()
    assert tree(a.local)
    again = machine("a")
    assert again.push(final=True) and tree(machine("b").local) == tree(a.local)


def test_a_manifest_whose_answer_was_lost_is_our_own(machine):
    a = machine("a")
    work(a.local, 10)

    def lose(operation, path):
        if operation == "pipe" and "/manifests/" in path:
            Dying.fault = None
            MemoryFileSystem.pipe_file(Dying(), path, pending())
            raise ConnectionResetError

    pending = catch_manifest(a)
    Dying.fault = lose
    assert a.push() and a.slept == [1.0]
    assert newest_manifest().counter == 1
    work(a.local, 20)
    assert a.push() and tree(machine("b").local) == tree(a.local)


def catch_manifest(mirror):
    """What the mirror creates next."""
    caught, create = [], mirror._store.pipe_file
    mirror._store.pipe_file = lambda name, content, **kw: (caught.append(content), create(name, content, **kw))
    return lambda: caught[-1]


def test_old_files_that_cannot_be_removed_do_not_stop_a_run(machine, capsys):
    a = machine("a")
    work(a.local, 10)
    a.push()
    work(a.local, 20)
    Dying.fault = failing(99, PermissionError("no delete"), only=("rm",))
    assert a.push(final=True)
    assert "could not be removed" in capsys.readouterr().err
    assert tree(machine_without_faults(machine, "b").local) == tree(a.local)
    work(a.local, 30)
    assert a.push() and objects(own=False) == tree(a.local)


@pytest.mark.parametrize(
    ("error", "tries"), [(PermissionError("denied"), 1), (FileNotFoundError("no bucket"), 3), (OSError(5, "net"), 3)]
)
def test_a_store_that_cannot_be_written_is_found_out_before_the_run(machine, error, tries):
    asked = []

    def fault(operation, path):
        asked.append(operation)
        raise error

    a = machine("a", pull=False)
    Dying.fault = fault
    with pytest.raises(UserError, match="cannot be used") as caught:
        a.pull()
    assert "\n" not in str(caught.value) and URL in str(caught.value)
    assert asked == ["put"] * tries and objects() == {} and tree(a.local) == {}


def test_a_workdir_inside_a_file_is_refused(machine, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be used"):
        machine("a", f"file://{tmp_path}/file/run")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("always", [False, True])
def test_a_file_that_grows_while_it_is_sent(machine, always, capsys):
    a = machine("a")
    work(a.local, 10)

    def grow(operation, path):
        if operation == "put" and path.endswith("events.out.tfevents.1"):
            with (a.local / "events.out.tfevents.1").open("ab") as file:
                file.write(b"more")
            Dying.fault = grow if always else None

    Dying.fault = grow
    assert a.push() is not always
    assert ("changes faster" in capsys.readouterr().err) is always
    Dying.alive()
    assert a.push()
    assert tree(machine("b").local) == tree(a.local)


# ---------------------------------------------------------------- a store that is damaged, or not ours


@pytest.fixture
def pushed(machine):
    a = machine("a")
    for step in (10, 20):
        work(a.local, step)
        a.push()
    return a


def object_of(path: str) -> str:
    return newest_manifest().files[path].object


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1], lambda content: b"?" + content[1:], lambda content: None]
)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(machine, pushed, capsys, damage):
    name = object_of("checkpoints/20/meta")
    replace_object(name, damage(objects()[name]))
    b = machine("b")
    assert steps(b.local) == [10] and resume(b.local) == 10
    assert "checkpoints/20 is damaged" in capsys.readouterr().err
    work(b.local, 20)
    assert b.push(final=True) and tree(machine("c").local) == tree(b.local) == objects(own=False)


def test_damage_of_all_checkpoints_is_refused(machine, pushed):
    for step in (10, 20):
        replace_object(object_of(f"checkpoints/{step}/meta"), b"?")
    with pytest.raises(UserError, match="none of the checkpoints"):
        machine("b")


def test_damage_in_the_store_does_not_cost_what_is_here(machine, pushed):
    for step in (10, 20):
        replace_object(object_of(f"checkpoints/{step}/meta"), b"?")
    again = machine("a")
    assert resume(again.local) == 20
    (again.local / "checkpoints" / "20" / "meta").write_bytes(b"another, and the store has none that is whole")
    mine = tree(again.local)
    assert tree(machine("a").local) == mine


def test_a_checkpoint_that_is_damaged_in_the_store_goes_where_the_store_is_ahead(machine):
    a = machine("a")
    work(a.local, 10)
    a.push()
    b = machine("b")
    for mirror in (a, b):
        work(mirror.local, 20)
    a.push()
    replace_object(object_of("checkpoints/20/meta"), b"?")
    again = machine("b")
    assert steps(again.local) == [10] and resume(again.local) == 10


@pytest.mark.parametrize("content", [b"?", None])
def test_a_damaged_file_that_the_run_needs_is_refused(machine, pushed, content):
    replace_object(object_of("metrics.jsonl"), content)
    with pytest.raises(UserError, match=r"the run cannot go on without metrics\.jsonl") as caught:
        machine("b")
    assert "\n" not in str(caught.value)


def manifest_with(**changes) -> bytes:
    name = max(name for name in objects() if name.startswith(".mirror/manifests/"))
    return json.dumps(json.loads(objects()[name]) | changes).encode()


ENTRY = {"size": 1, "crc32": 1, "object": "config.json"}
UNSAFE = (
    *("/etc/x", "../x", "a/../../x", "a/..", "..", ".", "", "a//b", "a/./b", "./a", "C:/x", "c:x", "a\\..\\b", "a\0b"),
    *("\\\\host\\share\\x", "//host/x"),
)


@pytest.mark.parametrize(
    "change",
    [
        *({"files": {path: ENTRY}} for path in (*UNSAFE, ".lock", ".mirror/manifest.json", "a/b.tmp")),
        *({"files": {"x": ENTRY | {"object": name}}} for name in UNSAFE),
        *({"files": {"x": ENTRY | {key: value}}} for key in ("size", "crc32") for value in (-1, 1.5, "1", None, True)),
        *({"files": {"x": value}} for value in (None, 3, [], {}, {"size": 1}, ENTRY | {"mode": 7})),
        *({"files": value} for value in (None, [], "x")),
        *({"counter": value} for value in (None, -1, 1.0, "2", 3)),
        *({"writer": None}, {"format": 2}, {"format": None}),
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_a_manifest_that_no_push_wrote_is_refused(machine, pushed, tmp_path, change):
    replace_object(".mirror/manifests/00000002.json", manifest_with(**change))
    refuses(machine, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"format": 1}'])
def test_a_manifest_that_is_no_manifest_is_refused(machine, pushed, tmp_path, content):
    replace_object(".mirror/manifests/00000002.json", content)
    refuses(machine, tmp_path)


def refuses(machine, tmp_path):
    before, outside = objects(), sorted(path.name for path in tmp_path.iterdir())
    b = machine("a-new", pull=False)
    with pytest.raises(UserError, match=r"\.mirror/manifests/00000002\.json cannot be used: .*; remove") as caught:
        b.pull()
    assert "\n" not in str(caught.value)
    assert tree(b.local) == {} and objects() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*outside, "a-new"])


def test_a_first_push_that_was_torn_leaves_a_run_that_has_not_begun(machine, capsys):
    first = f"{ROOT}/.mirror/manifests/00000001.json"
    MemoryFileSystem.pipe_file(Dying(), first, b'{"format": 1, "counter": 1, "fi')
    a = machine("a")
    assert "what was there before it is used" in capsys.readouterr().err
    work(a.local, 10)
    assert a.push() and tree(machine("b").local) == tree(a.local) and first not in Dying.store
    MemoryFileSystem.pipe_file(Dying(), f"{ROOT}/.mirror/manifests/00000001.json", manifest_with(format=2))
    replace_object(".mirror/manifests/00000002.json", None)
    with pytest.raises(UserError, match=r"00000001\.json cannot be used: it is not a manifest of format 1"):
        machine("c")


def test_names_beside_the_manifests_are_passed_over(machine, pushed):
    for name in ("probe", "00000009.json.part", "x.json", "-1.json", "٣.json", "9" * 30 + ".json"):
        MemoryFileSystem.pipe_file(Dying(), f"{ROOT}/.mirror/manifests/{name}", b"{")
    assert tree(machine("b").local) == tree(pushed.local)
