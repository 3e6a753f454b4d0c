"""A workdir in an object store: what a push leaves at any kill, which side wins, and what is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
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

URL, ROOT = "dying://bucket/run", "/bucket/run"
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
    def reset(cls, content=()):
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.alive()
        for name, data in dict(content).items():
            put(name, data)

    @classmethod
    def alive(cls):
        cls.left, cls.tear, cls.fault = None, False, None

    def _counts(self, operation, path, content=None):
        if Dying.fault is not None:
            Dying.fault(operation, path)
        with Dying.lock:
            if Dying.left is None:
                return
            Dying.left -= 1
            if Dying.left == -1 and content is not None and Dying.tear:
                MemoryFileSystem.pipe_file(self, path, content[: len(content) // 2])
            if Dying.left < 0:
                raise Killed

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("dying://"))

    def put_file(self, lpath, rpath, **kwargs):
        content = Path(lpath).read_bytes()
        self._counts("put", rpath, content)
        MemoryFileSystem.pipe_file(self, rpath, content)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._counts("pipe", path, value)
        super().pipe_file(path, value, mode)

    def cp_file(self, path1, path2, **kwargs):
        self._counts("copy", path2, self.store[path1].getvalue())
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


fsspec.register_implementation("dying", Dying, clobber=True)


@pytest.fixture(autouse=True)
def store():
    Dying.reset()
    yield
    Dying.reset()
    MemoryFileSystem.store.clear()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """``machine("b")``: a mirror as a new process on that machine opens it; its sleeps are noted."""

    def begin(name, *pushes, url=URL, pull=True):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        mirror = Mirror(url)
        mirror.slept = []
        monkeypatch.setattr("vae_jax.runtime.remote.mirror.time.sleep", mirror.slept.append)
        if pull:
            mirror.pull()
        go_on(mirror, *pushes)
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
    # Orbax gives data files random names, so a step that is saved again has others.
    contents = {"meta": os.urandom(20), f"d/{os.urandom(4).hex()}": os.urandom(50), "d/empty": b""}
    contents["index.json"] = json.dumps({name: zlib.crc32(content) for name, content in contents.items()}).encode()
    for name, content in contents.items():
        path = local / "checkpoints" / str(step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for old in steps(local)[:-KEEP]:
        shutil.rmtree(local / "checkpoints" / str(old))


def go_on(mirror: Mirror, *pushes: int) -> None:
    for step in pushes:
        work(mirror.local, step)
        assert mirror.push()


def steps(local: Path) -> list[int]:
    return sorted(int(path.name) for path in (local / "checkpoints").glob("*"))


def resume(local: Path) -> int:
    """The step of the newest checkpoint, which has to be whole; metrics.jsonl has to reach it, and is cut there."""
    step = max(steps(local), default=0)
    if step:
        folder = local / "checkpoints" / str(step)
        index = json.loads((folder / "index.json").read_text())
        assert {name: zlib.crc32((folder / name).read_bytes()) for name in index} == index
        assert len([path for path in folder.rglob("*") if path.is_file()]) == len(index) + 1
    path = local / "metrics.jsonl"
    kept = path.read_text().splitlines()[:step] if path.exists() else []
    assert [json.loads(line)["step"] for line in kept] == list(range(step))
    if path.exists():
        path.write_text("".join(line + "\n" for line in kept))
    return step


def tree(local: Path) -> dict[str, bytes]:
    """What of a folder belongs to the run."""
    paths = [path for path in local.rglob("*") if path.is_file() and ".mirror" not in path.parts]
    return {path.relative_to(local).as_posix(): path.read_bytes() for path in paths if path.name != ".lock"}


def objects(own: bool = True) -> dict[str, bytes]:
    """What is in the store, by path in the workdir."""
    names = {name.removeprefix(f"{ROOT}/"): f.getvalue() for name, f in Dying.store.items() if name.startswith(ROOT)}
    return {name: content for name, content in names.items() if own or not name.startswith(".mirror/")}


def put(name: str, content: bytes | None) -> None:
    """Makes or replaces an object, or removes it."""
    Dying.store.pop(f"{ROOT}/{name}", None)
    if content is not None:
        MemoryFileSystem.pipe_file(Dying(), f"{ROOT}/{name}", content)


def newest_manifest():
    return from_json(objects()[max(name for name in objects() if name.startswith(".mirror/manifests/"))])


def object_of(path: str) -> str:
    return newest_manifest().files[path].object


def refusal(act, words: str) -> str:
    """The one line with which ``act`` is refused."""
    with pytest.raises(UserError, match=words) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- URLs and folders


def test_what_is_remote():
    assert all(map(is_remote, ("gs://b/run", "s3://b/r", "memory://r", "file:///r", "simplecache::gs://b/r")))
    local = ("runs/a", "/runs/a", "C:\\runs", "C://runs", "c:/runs", "a/b://c", "", "://x")
    assert not any(map(is_remote, local))


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("gcs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_package_is_named(monkeypatch, scheme, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    refusal(lambda: Mirror(f"{scheme}://b/run"), f"{scheme}://b/run.*nstall {package}")


@pytest.mark.parametrize("url", ["nowhere://b/run", "simplecache::memory://run", "memory://", "file:///", "dying:///"])
def test_what_is_no_place_is_refused(machine, tmp_path, url):
    assert url in refusal(lambda: machine("a", url=url), "--workdir=")
    assert not (tmp_path / "a").exists()


def test_the_local_folder_is_private_and_one_for_each_url(machine, tmp_path, monkeypatch):
    local = machine("a").local
    assert local.is_relative_to(tmp_path / "a" / "vae_jax" / "workdirs") and local.name.startswith("run-")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (local, local.parent)] == [0o700, 0o700]
    assert machine("a", url=URL + "/").local == local != machine("a", url="dying://other/run").local
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    refusal(lambda: Mirror(URL), "set XDG_CACHE_HOME")


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("scheme", ["dying", "memory", "file"])
def test_a_new_machine_gets_the_run(machine, tmp_path, scheme):
    url = f"file://{tmp_path}/store/run" if scheme == "file" else f"{scheme}://bucket/run"
    a = machine("a", 10, 20, 30, url=url)
    (a.local / "results.json").write_text('{"elbo": -1}')
    assert a.push(final=True)
    b = machine("b", url=url)
    assert tree(b.local) == tree(a.local) and resume(b.local) == 30
    work(b.local, 40)
    assert b.push(final=True)
    assert tree(machine("c", url=url).local) == tree(b.local)
    if scheme == "file":  # what people see, old checkpoints and their folders gone
        seen = tmp_path / "store" / "run"
        assert tree(seen) == tree(b.local) and steps(seen) == [30, 40]


def test_people_see_the_newest_of_each_file_and_nothing_else(machine):
    others = {name: b"theirs" for name in ("notes.txt", "other/checkpoints/5/x", "checkpoint/7/y")}
    Dying.reset(others)
    a = machine("a")
    runs = ("", "runs/beta=[1]", "runs/beta=1", "runs/b*", "runs/?eta=1")  # none of them is a pattern
    for step in (10, 20, 30, 40):
        for run in runs:
            (a.local / run).mkdir(parents=True, exist_ok=True)
            work(a.local / run, step)
        assert a.push()
        assert objects(own=False) == tree(a.local) | others  # what others keep there is left alone
    named = {entry.object for entry in newest_manifest().files.values()}
    assert {name for name in objects() if name.startswith(".mirror/versions/")} <= named
    assert len([name for name in objects() if name.startswith(".mirror/manifests/")]) == 1


def test_only_what_has_changed_is_sent(machine):
    a, sent = machine("a", 10), []
    before = objects()
    Dying.fault = lambda operation, path: sent.append((operation, path))
    a.push()
    assert objects() == before and not {"put", "pipe", "copy", "rm"} & {operation for operation, _ in sent}
    go_on(a, 20)
    puts = {path.removeprefix(ROOT) for operation, path in sent if operation == "put"}
    assert not any("checkpoints/10/" in path or "config.json" in path for path in puts)
    assert {path.rpartition("/")[2] for path in puts} >= {"metrics.jsonl", "index.json", "meta"}


def test_what_is_not_the_runs_stays_here(machine, tmp_path):
    a = machine("a", 10)
    expected = tree(a.local)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    (a.local / "link").symlink_to(tmp_path / "outside" / "secret")
    (a.local / "folder").symlink_to(tmp_path / "outside")
    os.mkfifo(a.local / "pipe")
    for name in (".lock", "runs/x/.lock", "results.json.tmp", "checkpoints/20.orbax-checkpoint-tmp-3/d/x"):
        (a.local / name).parent.mkdir(parents=True, exist_ok=True)
        (a.local / name).write_text("x")
    assert a.push(final=True) and objects(own=False) == expected


def test_a_store_that_an_earlier_version_wrote_is_read(machine):
    contents = {"metrics.jsonl": b"".join(b'{"step": %d}\n' % s for s in range(10)), "checkpoints/10/meta": b"abc"}
    contents["checkpoints/10/index.json"] = json.dumps({"meta": zlib.crc32(b"abc")}).encode()
    held = {name: name for name in contents} | {"metrics.jsonl": ".mirror/versions/7/metrics.jsonl"}
    files = {
        name: {"size": len(content), "crc32": zlib.crc32(content), "object": held[name]}
        for name, content in contents.items()
    }
    Dying.reset({held[name]: content for name, content in contents.items()})
    put(".mirror/versions/5/metrics.jsonl", b"left by a push that was killed")
    manifest = {"format": 1, "counter": 7, "writer": "0123456789abcdef", "files": files}
    put(".mirror/manifests/00000007.json", json.dumps(manifest, indent=1).encode())
    a = machine("a")
    assert tree(a.local) == contents and resume(a.local) == 10
    go_on(a, 20)
    assert newest_manifest().counter == 8 and objects(own=False) == tree(a.local) == tree(machine("b").local)
    assert ".mirror/versions/5/metrics.jsonl" not in objects()


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
@pytest.mark.parametrize("pushed", [0, 2])
def test_a_push_killed_at_any_operation_loses_one_interval_at_most(machine, tmp_path, pushed, tear):
    """After every possible kill: a new machine's pull, and the same machine's; both go on; nothing is left over."""
    k, was_killed, before_or_after, last = -1, True, set(), 10 * (pushed + 1)
    machine("start", *range(10, last, 10))
    begun = objects()
    while was_killed:
        k += 1
        Dying.reset(begun)
        shutil.copytree(tmp_path / "start", tmp_path / f"a{k}")
        a = machine(f"a{k}")
        work(a.local, last)
        was_killed = killed_at(k, tear, a.push)
        frozen = objects()

        b = machine(f"b{k}")
        step = resume(b.local)
        assert step in ((last - 10, last) if was_killed else (last,))
        before_or_after.add(step)
        go_on(b, step + 10)
        c = machine(f"c{k}")
        assert tree(c.local) == tree(b.local) == objects(own=False) and resume(c.local) == step + 10

        Dying.reset(frozen)
        again = machine(f"a{k}")
        assert resume(again.local) == last  # this machine has what it did not push
        go_on(again, last + 10)
        assert tree(machine(f"d{k}").local) == tree(again.local) == objects(own=False)
    assert k > 5 and before_or_after == {last - 10, last}


def test_a_pull_killed_at_any_operation_is_made_good_by_the_next(machine):
    a = machine("a", 10, 20, 30)
    old = machine("old")  # was here before, and is behind by now
    go_on(a, 40)
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
    for _ in range(60):
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
    assert kills > 30 and reached > 150
    last = machine("c")
    assert resume(last.local) >= reached
    go_on(last, max(steps(last.local)) + 10)
    assert objects(own=False) == tree(last.local)


# ---------------------------------------------------------------- which side wins


def test_work_that_was_not_pushed_stays_where_nobody_went_on(machine):
    work(machine("a").local, 10)
    assert resume(machine("a", 20).local) == 20
    work(machine("a").local, 30)
    again = machine("a")
    assert max(steps(again.local)) == 30 and again.push(final=True)
    assert resume(machine("b").local) == 30


def test_the_store_wins_where_another_machine_went_on(machine):
    a = machine("a", 10)
    work(a.local, 20)
    (a.local / "mine.txt").write_text("x")
    (a.local / ".lock").write_text("held")
    b = machine("b", 20, 30, 40)
    again = machine("a")
    assert (again.local / ".lock").read_text() == "held" and tree(again.local) == tree(b.local)
    assert steps(again.local) == [30, 40]


@pytest.mark.parametrize("damage", ["changed", "half removed", "removed"])
def test_a_checkpoint_that_was_damaged_here_is_fetched_whole(machine, damage):
    a = machine("a", 10)
    whole, folder = tree(a.local), a.local / "checkpoints" / "10"
    if damage == "changed":
        (folder / "meta").write_bytes(b"other")
        (folder / "d" / "extra").write_bytes(b"of another save")
    else:
        shutil.rmtree(folder) if damage == "removed" else (folder / "index.json").unlink()
    assert tree(a.local) != whole
    assert tree(machine("a").local) == whole


def test_a_run_that_was_removed_from_the_store_begins_anew_and_its_copy_is_kept(machine, capsys):
    a = machine("a", 10)
    kept = tree(a.local)
    (a.local / ".lock").write_text("held")
    Dying.reset()
    again = machine("a")
    assert tree(again.local) == {} and (again.local / ".lock").exists()
    assert "begins anew" in capsys.readouterr().err
    aside = list(again.local.parent.glob("*-aside-*"))
    assert len(aside) == 1 and tree(aside[0]) == kept
    go_on(again, 10)
    assert tree(machine("b").local) == objects(own=False)


@pytest.mark.parametrize("begun", [(), (10,)])
def test_a_second_writer_is_refused_and_changes_nothing(machine, begun):
    a = machine("a", *begun)
    b = machine("b")
    work(a.local, 20)
    go_on(b, 20)
    before = objects()
    for final in (False, True):
        assert str(a.local) in refusal(lambda final=final: a.push(final=final), "is being written by another run")
    assert objects() == before and a.slept == [] and tree(machine("c").local) == tree(b.local)


def test_a_second_writer_between_the_look_and_the_manifest_is_refused(machine):
    a = machine("a", 10)
    b = machine("b")
    for mirror in (a, b):
        work(mirror.local, 20)

    def overtake(operation, path):
        if operation == "pipe" and "/manifests/" in path:
            Dying.fault = None
            assert b.push()

    Dying.fault = overtake
    refusal(a.push, "another run")
    # What both wrote under one name is found damaged, and the checkpoint before is used.
    assert resume(machine("c").local) in (10, 20) and newest_manifest().counter == 2


def test_a_local_folder_that_was_emptied_does_not_empty_the_store(machine):
    a = machine("a", 10)
    before = objects()
    shutil.rmtree(a.local)
    refusal(a.push, "was emptied")
    assert objects() == before and resume(machine("a").local) == 10


def test_a_pull_while_another_run_pushes_takes_the_newer(machine):
    a = machine("a", 10, 20)
    needed = f"{ROOT}/{object_of('metrics.jsonl')}"

    def overtake(operation, path):
        if operation == "get" and path == needed:
            Dying.fault = None
            go_on(a, 30, 40)  # removes what the puller is about to fetch

    b = machine("b", pull=False)
    Dying.fault = overtake
    b.pull()
    assert tree(b.local) == tree(a.local) and b.slept == [1.0]


# ---------------------------------------------------------------- a store that does not answer


def failing(times: int, error: Exception, only=("ls", "put", "pipe", "cat", "get"), seen=None):
    """The first ``times`` operations raise."""
    left = [times]

    def fault(operation, path):
        if seen is not None:
            seen.append((operation, path))
        if operation in only and left[0] > 0:
            left[0] -= 1
            raise error

    return fault


@pytest.mark.parametrize("error", [OSError(5, "no network"), TimeoutError(), ConnectionResetError("x"), KeyError("x")])
def test_a_push_tries_again_and_sends_nothing_twice(machine, error):
    a, seen = machine("a"), []
    work(a.local, 10)
    Dying.fault = failing(2, error, only=("pipe",), seen=seen)
    assert a.push() and a.slept == [1.0, 4.0]
    puts = [path for operation, path in seen if operation == "put"]
    assert len(puts) == len(set(puts)) == len(tree(a.local))
    Dying.alive()
    assert tree(machine("b").local) == tree(a.local)


def test_a_failing_push_is_a_warning_and_the_next_brings_everything(machine, capsys):
    a = machine("a", 10)
    for step in (20, 30, 40):
        work(a.local, step)
        Dying.fault = failing(99, OSError(5, "no network"), only=("pipe",))
        assert not a.push()
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "no network" in err and str(a.local) in err
    assert a.slept == [1.0, 4.0] * 3
    Dying.alive()
    assert resume(machine("b").local) == 10
    assert a.push() and objects(own=False) == tree(a.local)  # with the leavings of the pushes that failed


def test_the_last_push_must_not_fail(machine):
    a = machine("a")
    work(a.local, 10)
    Dying.fault = failing(99, OSError(5, "no network"))
    assert str(a.local) in refusal(lambda: a.push(final=True), "no network")
    Dying.alive()
    assert steps(a.local) == [10]
    again = machine("a")
    assert again.push(final=True) and tree(machine("b").local) == tree(a.local)


def test_a_manifest_whose_answer_was_lost_is_our_own(machine, monkeypatch):
    a, create = machine("a"), Dying.pipe_file
    work(a.local, 10)

    def lose(self, path, value, **options):
        monkeypatch.setattr(Dying, "pipe_file", create)
        create(self, path, value, **options)
        raise ConnectionResetError

    monkeypatch.setattr(Dying, "pipe_file", lose)
    assert a.push() and a.slept == [1.0] and newest_manifest().counter == 1
    go_on(a, 20)
    assert tree(machine("b").local) == tree(a.local)


def test_old_files_that_cannot_be_removed_do_not_stop_a_run(machine, capsys):
    a = machine("a", 10)
    (a.local / "config.json").unlink()
    Dying.fault = failing(99, PermissionError("no delete"), only=("rm",))
    assert a.push(final=True)
    assert "could not be removed" in capsys.readouterr().err
    Dying.alive()
    assert tree(machine("b").local) == tree(a.local) != objects(own=False)
    (a.local / "metrics.jsonl").write_text("")
    assert a.push() and objects(own=False) == tree(a.local)


@pytest.mark.parametrize(
    ("error", "tries"), [(PermissionError("denied"), 1), (FileNotFoundError("no bucket"), 3), (OSError(5, "net"), 3)]
)
def test_a_store_that_cannot_be_written_is_found_out_before_the_run(machine, error, tries):
    a, seen = machine("a", pull=False), []
    Dying.fault = failing(99, error, seen=seen)
    assert URL in refusal(a.pull, "cannot be used")
    assert [operation for operation, _ in seen] == ["put"] * tries and objects() == {} and tree(a.local) == {}


def test_a_workdir_inside_a_file_is_refused(machine, tmp_path):
    (tmp_path / "file").write_text("x")
    refusal(lambda: machine("a", url=f"file://{tmp_path}/file/run"), "cannot be used")
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
    assert a.push() and tree(machine("b").local) == tree(a.local)


# ---------------------------------------------------------------- a store that is damaged, or not ours


@pytest.fixture
def pushed(machine):
    return machine("a", 10, 20)


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"?" + content[1:], lambda _: None])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(machine, pushed, capsys, damage):
    name = object_of("checkpoints/20/meta")
    put(name, damage(objects()[name]))
    b = machine("b")
    assert steps(b.local) == [10] and resume(b.local) == 10
    assert "checkpoints/20 is damaged" in capsys.readouterr().err
    go_on(b, 20)
    assert tree(machine("c").local) == tree(b.local) == objects(own=False)


def test_damage_of_all_checkpoints_is_refused_but_does_not_cost_what_is_here(machine, pushed):
    for step in (10, 20):
        put(object_of(f"checkpoints/{step}/meta"), b"?")
    refusal(lambda: machine("b"), "none of the checkpoints")
    again = machine("a")
    assert resume(again.local) == 20
    (again.local / "checkpoints" / "20" / "meta").write_bytes(b"another, and the store has none that is whole")
    mine = tree(again.local)
    assert tree(machine("a").local) == mine


def test_a_checkpoint_that_is_damaged_in_the_store_goes_where_the_store_is_ahead(machine):
    a = machine("a", 10)
    work(machine("b").local, 20)
    go_on(a, 20)
    put(object_of("checkpoints/20/meta"), b"?")
    again = machine("b")
    assert steps(again.local) == [10] and resume(again.local) == 10


@pytest.mark.parametrize("content", [b"?", None])
def test_a_damaged_file_that_the_run_needs_is_refused(machine, pushed, content):
    put(object_of("metrics.jsonl"), content)
    refusal(lambda: machine("b"), r"the run cannot go on without metrics\.jsonl")


def manifest_with(**changes) -> bytes:
    name = max(name for name in objects() if name.startswith(".mirror/manifests/"))
    return json.dumps(json.loads(objects()[name]) | changes).encode()


ENTRY = {"size": 1, "crc32": 1, "object": "config.json"}
UNSAFE = (
    *("/etc/x", "../x", "a/../../x", "a/..", "..", ".", "", "a//b", "a/./b", "./a", "C:/x", "c:x", "a\\..\\b", "a\0b"),
    *("\\\\host\\share\\x", "//host/x"),
)
CHANGES = (
    *({"files": {path: ENTRY}} for path in (*UNSAFE, ".lock", ".mirror/manifest.json", "a/b.tmp")),
    *({"files": {"x": ENTRY | {"object": name}}} for name in (*UNSAFE, None, 3)),
    *({"files": {"x": ENTRY | {key: value}}} for key in ("size", "crc32") for value in (-1, 1.5, "1", None, True)),
    *({"files": {"x": value}} for value in (None, 3, [], {}, {"size": 1}, ENTRY | {"mode": 7})),
    *({"files": value} for value in (None, [], "x")),
    *({"counter": value} for value in (None, -1, 1.0, "2", 3)),
    *({"writer": None}, {"format": 2}, {"format": None}),
)


def test_a_manifest_that_no_push_wrote_is_refused(machine, pushed, tmp_path):
    contents = [manifest_with(**change) for change in CHANGES]
    contents += [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"format": 1}']
    b = machine("b", pull=False)
    outside = sorted(path.name for path in tmp_path.iterdir())
    for content in contents:
        put(".mirror/manifests/00000002.json", content)
        before = objects()
        refusal(b.pull, r"\.mirror/manifests/00000002\.json cannot be used: .*; remove")
        assert tree(b.local) == {} and objects() == before, content
    assert sorted(path.name for path in tmp_path.iterdir()) == outside


def test_a_first_push_that_was_torn_leaves_a_run_that_has_not_begun(machine, capsys):
    first = ".mirror/manifests/00000001.json"
    put(first, b'{"format": 1, "counter": 1, "fi')
    a = machine("a")
    assert "what was there before it is used" in capsys.readouterr().err
    go_on(a, 10)
    assert tree(machine("b").local) == tree(a.local) and first not in objects()
    put(first, manifest_with(format=2))
    put(".mirror/manifests/00000002.json", None)
    refusal(lambda: machine("c"), r"00000001\.json cannot be used: it is not a manifest of format 1")


def test_names_beside_the_manifests_are_passed_over(machine, pushed):
    for name in ("probe", "00000009.json.part", "x.json", "-1.json", "٣.json", "9" * 30 + ".json"):
        put(f".mirror/manifests/{name}", b"{")
    assert tree(machine("b").local) == tree(pushed.local)
