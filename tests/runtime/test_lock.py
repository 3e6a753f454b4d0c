"""One run per workdir: who gets the lock, who is refused and told by whom, and that it dies with its process."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from vae_jax.runtime import lock
from vae_jax.runtime.lock import Lock, holders, join, take, take_first
from vae_jax.types import UserError

# Reads commands from its standard input: the name of a function of the module, or "release".
CHILD = """
import sys
from pathlib import Path
from vae_jax.runtime import lock
from vae_jax.types import UserError
print("ready", flush=True)
held = None
for line in sys.stdin:
    command, folder = line.split(maxsplit=1)
    try:
        if command == "release":
            held and held.release()
            held = None
        else:
            held = getattr(lock, command)(Path(folder.strip()))
        print("done", flush=True)
    except UserError as error:
        print(error, flush=True)
"""


class Child:
    def __init__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", CHILD], stdin=pipe, stdout=pipe, text=True)

    def tell(self, command, folder):
        self.process.stdin.write(f"{command} {folder}\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def asked(self, command, folder):
        self.tell(command, folder)
        return self.answer()

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def children():
    started = [Child(), Child()]
    assert [child.answer() for child in started] == ["ready", "ready"]
    yield started
    for child in started:
        child.kill()
        child.process.stdin.close()
        child.process.stdout.close()


def refused(function, folder, *args):
    with pytest.raises(UserError) as error:
        function(folder, *args)
    assert "\n" not in str(error.value) and f"--workdir={folder} " in str(error.value)
    return str(error.value)


def test_of_two_processes_that_race_exactly_one_wins(tmp_path, children):
    for number in range(120):
        for child in children[:: 1 if number % 3 else -1]:
            child.tell(("take", "take_first")[number % 2], tmp_path)
        answers = [child.answer() for child in children]
        assert answers.count("done") == 1, answers
        winner = answers.index("done")
        assert f"process {children[winner].process.pid} on " in answers[1 - winner]
        assert [child.asked("release", tmp_path) for child in children] == ["done", "done"]


def test_a_process_that_is_killed_lets_the_next_in_at_once(tmp_path, children):
    child = children[0]
    assert child.asked("take", tmp_path) == "done"
    message = refused(take, tmp_path)
    assert re.search(rf"process {child.process.pid} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d", message)
    assert "choose another --workdir" in message
    child.process.send_signal(signal.SIGKILL)
    child.process.wait()
    with take(tmp_path):
        assert [who["pid"] for who in holders(tmp_path)] == [os.getpid()]


def test_members_of_a_run_keep_it_when_the_first_is_gone(tmp_path, children):
    first, second = children
    assert first.asked("take_first", tmp_path) == "done" and second.asked("join", tmp_path) == "done"
    assert f"process {first.process.pid} and 1 more on" in refused(take, tmp_path)
    first.kill()
    message = refused(take_first, tmp_path)
    assert f"process {second.process.pid} on" in message and str(first.process.pid) not in message
    second.kill()
    with take_first(tmp_path), join(tmp_path):
        assert len(holders(tmp_path)) == 2


def test_waiting_for_a_run_that_is_ending(tmp_path, capsys):
    held = take(tmp_path)
    threading.Timer(0.3, held.release).start()
    with take(tmp_path, wait=20.0):
        said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("warning: ") and "waiting up to 20 s" in said
    assert f"process {os.getpid()}" in said
    with take(tmp_path):
        begun = time.monotonic()
        refused(take, tmp_path, 0.3)
        assert 0.3 <= time.monotonic() - begun < 5
    capsys.readouterr()
    with take(tmp_path, wait=20.0):  # nobody is there: nothing to say
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("comes", [take, take_first])  # it still holds the lock exclusively, or shares it already
def test_a_run_that_comes_between_exclusive_and_shared_wins_alone(tmp_path, monkeypatch, comes):
    plain, rival = Lock.lock, []

    def with_a_gap(self, exclusive):
        if not exclusive and not rival:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            rival.append(None)
            rival[0] = comes(tmp_path)
        return plain(self, exclusive)

    monkeypatch.setattr(Lock, "lock", with_a_gap)
    refused(take_first, tmp_path)
    assert len(holders(tmp_path)) == 1
    refused(take, tmp_path)  # the rival holds it
    rival[0].release()
    take(tmp_path).release()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1', "[1]\n7\nnull\n", '{"pid": [], "host": 3, "since": null}\n'])
def test_a_torn_file_is_no_reason_to_fail(tmp_path, text):
    with take(tmp_path):
        (tmp_path / ".lock").write_text(text)
        assert "another run" in refused(take, tmp_path)
        assert "another run" in refused(join, tmp_path)
    with take_first(tmp_path), join(tmp_path):
        assert [who["pid"] for who in holders(tmp_path)] == [os.getpid()] * 2


def test_one_who_is_gone_is_not_named(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with take(tmp_path):
        who = holders(tmp_path)[0]
        (tmp_path / ".lock").write_text(json.dumps(who | {"pid": ended.pid}) + "\n")
        assert str(ended.pid) not in refused(take, tmp_path)
        (tmp_path / ".lock").write_text(json.dumps(who | {"pid": ended.pid, "host": "elsewhere"}) + "\n")
        assert f"process {ended.pid} on elsewhere since" in refused(take, tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_warned_of_once(tmp_path, monkeypatch, capsys, number):
    def cannot(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", cannot)
    with take_first(tmp_path), join(tmp_path), take(tmp_path):
        said = capsys.readouterr().err
    assert said.count("warning: ") == 1 and "has no locks" in said and str(tmp_path) in said


def test_a_disk_that_is_full_or_a_system_without_flock_does_not_stop_a_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with take_first(tmp_path), join(tmp_path):
            assert "does not say which" in refused(take, tmp_path)
    monkeypatch.setattr(lock, "fcntl", None)
    with take_first(tmp_path), join(tmp_path):
        assert len(holders(tmp_path)) == 2


def test_a_failure_that_is_neither_is_not_hidden(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"):
        take(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refused(take, tmp_path / "file" / "run")
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    assert "is not a file" in refused(join, tmp_path / "run")

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)  # permissions do not stop a superuser
    assert "Read-only file system" in refused(take_first, tmp_path)


def test_the_file_stays_and_children_do_not_inherit_the_lock(tmp_path):
    with take(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        assert (tmp_path / ".lock").exists()
        with take(tmp_path):
            assert child.poll() is None
    finally:
        child.communicate()
