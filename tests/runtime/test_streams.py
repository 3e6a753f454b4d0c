"""A binary whose standard streams its caller has closed."""

import subprocess
import sys
from pathlib import Path

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
