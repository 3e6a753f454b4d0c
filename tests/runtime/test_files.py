"""Files of a run: nothing is read or written through a link, and a pipe waits for nobody."""

from __future__ import annotations

import os
import stat

import pytest

from vae_jax.runtime import files
from vae_jax.runtime.lock import take
from vae_jax.runtime.logs import MetricsLog
from vae_jax.types import UserError


def a_link(path):
    path.symlink_to(path.parent.parent / "outside")


KINDS = {
    "a link": a_link,
    "a link that leads nowhere": lambda path: path.symlink_to(path.parent / "nowhere"),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": os.mkdir,
}


@pytest.fixture(params=KINDS)
def workdir(tmp_path, request):
    """A folder in which something else stands in the place of files; a file outside of it must stay as it is."""
    (tmp_path / "outside").write_text("theirs")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".lock", "metrics.jsonl", "results.json"):
        KINDS[request.param](folder / name)
    yield folder
    assert (tmp_path / "outside").read_text() == "theirs" and not (folder / "nowhere").exists()


def test_what_is_no_file_is_refused_at_once(workdir):
    actions = (
        lambda: files.read_object(workdir / "results.json", "remove it"),
        lambda: files.read_rows(workdir / "metrics.jsonl"),
        lambda: files.open_to_append(workdir / "metrics.jsonl"),
        lambda: files.check_plain(workdir, ("metrics.jsonl",), ()),
        lambda: MetricsLog(workdir, 0),
        lambda: take(workdir),
    )
    for act in actions:
        with pytest.raises(UserError, match="is not a file"):
            act()


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(UserError, match="checkpoints is not a folder"):
        files.check_plain(tmp_path, ("config.json",), ("checkpoints", "figures"))


def test_writing_replaces_a_link_and_never_follows_one(tmp_path):
    (tmp_path / "outside").write_text("theirs")
    (tmp_path / "a.json").symlink_to(tmp_path / "outside")
    for pid in {os.getpid(), 1}:  # names that somebody could foresee
        (tmp_path / f".a.json.{pid}.tmp").symlink_to(tmp_path / "outside")
        (tmp_path / f"a.json.{pid}.tmp").symlink_to(tmp_path / "outside")
    files.write_json(tmp_path / "a.json", {"x": 1})
    assert (tmp_path / "outside").read_text() == "theirs"
    assert not (tmp_path / "a.json").is_symlink() and files.read_object(tmp_path / "a.json", "") == {"x": 1}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~umask
