"""A binary whose streams its caller has closed, or that a limit of the machine stops."""

import subprocess
import sys
from pathlib import Path

import pytest

from vae_jax.runtime.config import _limit_of

ROOT = Path(__file__).parents[2]
PROGRAM = """
import dataclasses, sys
from vae_jax.runtime.checkpoint import _silence
from vae_jax.runtime.config import launch
from vae_jax.types import UserError

@dataclasses.dataclass(frozen=True)
class Config:
    pass

def main(config):
    with open(PATH, "w") as file, _silence():
        print(sys.stderr.isatty(), file=sys.stderr)
        file.write("whole")
    raise UserError("refused")

launch(main, Config)
"""


def test_closed_streams_are_no_traceback_and_no_message_in_a_file(tmp_path):
    path = tmp_path / "file"
    program = PROGRAM.replace("PATH", repr(str(path)))
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&- >&- <&-', sys.executable, program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, path.read_text()) == (2, "", "whole"), done


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory is full"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "memory is full"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (ImportError("x.so: failed to map segment from shared object"), "failed to map segment"),
        (RuntimeError("OSError: [Errno 24] Too many open files: 'x'"), "Too many open files"),
        (ValueError("a fault of ours"), None),
    ],
)
def test_a_limit_of_the_machine_is_told_from_a_fault(error, words):
    limit = _limit_of(error)
    assert limit is None if words is None else words in limit
