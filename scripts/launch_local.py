"""Runs N processes of one program on this machine, as on N hosts; they find each other on the loopback interface.

    python scripts/launch_local.py 2 -- -m experiments.train --workdir=runs/two
    python scripts/launch_local.py 4 --devices_per_process=2 --restart -- -m experiments.train --workdir=runs/four

What follows the ``--`` are the arguments of Python itself. Each process gets --coordinator, --num_processes and
--process_id in addition. Process 0 speaks for all; a line of another has its number in front, on standard error. Where
one fails the others are ended, and the exit status is that of the first that failed (128 + its number for a signal).
With --restart, what a scheduler would restart is started again: a run that was stopped by SIGTERM and has saved (143)
or processes that were killed; not what cannot be done (2), a failure of the program (1), or Ctrl-C (130).
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

RESTARTS = 10  # of --restart without a number
GRACE = 15.0  # seconds between asking and killing
STOPPED = (130, 143)  # a process that was asked to stop, and has
_LOOK = 0.02  # seconds between two looks at the processes


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


def cluster_commands(arguments: Sequence[str], count: int, port: int | None = None) -> list[list[str]]:
    """The command line of each of ``count`` processes.

    Args:
      arguments: of Python: ``-m experiments.train ...``.
      count: how many processes.
      port: of process 0; None for a free one.
    """
    flags = [f"--coordinator=127.0.0.1:{port or free_port()}", f"--num_processes={count}"]
    return [[sys.executable, *arguments, *flags, f"--process_id={rank}"] for rank in range(count)]


class Group:
    """Processes that live and die together; a context manager, which leaves none behind.

    Each has a session of its own: Ctrl-C on a terminal reaches the launcher alone, which hands it on, once.

    Args:
      commands: the command line of each.
      environment: variables in addition to those of this process.
      output: where process 0 writes; None for where this process does.
      say: is told each line of the other processes, with their number in front; None for standard error.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environment: dict[str, str] | None = None,
        output: IO | None = None,
        say: Callable[[str], None] | None = None,
    ):
        self._asked = False
        self._say = say or (lambda line: os.write(2, f"{line}\n".encode()))  # whole, beside what others write
        self.processes, self._readers = [], []
        shared = {"env": os.environ | (environment or {}), "stdin": subprocess.DEVNULL, "start_new_session": True}
        heard = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
        try:
            for rank, command in enumerate(commands):
                pipes = heard if rank else {"stdout": output, "stderr": output and subprocess.STDOUT}
                process = subprocess.Popen(command, **pipes, **shared)
                self.processes.append(process)
                if rank:
                    self._readers.append(threading.Thread(target=self._read, args=(rank, process.stdout), daemon=True))
                    self._readers[-1].start()
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def _read(self, rank: int, lines: IO) -> None:
        with lines:
            for line in lines:
                self._say(f"[{rank}] {line.rstrip()}")

    def ask(self, number: int) -> None:
        """Hands a signal on to all that live, which then stop by themselves; a second time they stop at once."""
        self._asked = True
        self._send(number)

    def _send(self, number: int) -> None:
        for process in self.processes:
            process.send_signal(number)  # nothing happens to one that has ended

    def kill(self) -> None:
        """Ends all that live, at once."""
        self._send(signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def wait(self, grace: float = GRACE) -> int:
        """Waits until all have ended, and ends them where one has failed.

        Args:
          grace: seconds that the others have to save when they are asked to stop, before they are killed.

        Returns:
          0 where all succeeded, else the exit status of the first that failed, ``128 + number`` for a signal.
        """
        try:
            first = self._first_failure()
            if first:
                # Those that stop already are not to be hurried by a second signal.
                if not (first in STOPPED or self._asked):
                    self._send(signal.SIGTERM)
                until = time.monotonic() + grace
                while time.monotonic() < until and any(process.poll() is None for process in self.processes):
                    time.sleep(_LOOK)
        finally:
            self.kill()
        for reader in self._readers:
            reader.join(timeout=1.0)  # a child of a child may hold the pipe
        return first

    def _first_failure(self) -> int:
        while True:
            codes = [process.poll() for process in self.processes]
            failed = [code for code in codes if code]
            # Of those that ended between two looks, the one that was killed is the cause: the others felt it.
            if failed:
                return next((128 - code for code in failed if code < 0), failed[0])
            if None not in codes:
                return 0
            time.sleep(_LOOK)


def restarts(status: int) -> bool:
    """Whether a scheduler would start it again: it saved when it was told to go (143), or a signal killed it."""
    return 128 < status <= 128 + 64 and status != 130


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        sys.exit(print(f"error: {message}; {self.format_usage().strip()}", file=sys.stderr) or 2)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the launcher's own arguments, and those of Python behind the ``--``."""
    usage = "launch_local.py N [--devices_per_process=K] [--restart[=TIMES]] [--grace=SECONDS] -- -m MODULE ARGS..."
    summary, _, more = __doc__.partition("\n\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(usage=usage, description=summary, epilog=more, formatter_class=raw)
    parser.add_argument("processes", metavar="N", type=int, help="how many processes")
    parser.add_argument("--devices_per_process", metavar="K", type=int, help="virtual CPU devices of each")
    parser.add_argument("--restart", metavar="TIMES", type=int, nargs="?", const=RESTARTS, default=0)
    parser.add_argument("--grace", metavar="SECONDS", type=float, default=GRACE, help="between asking and killing")
    argv = list(argv)
    own, rest = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    args = parser.parse_args(own)
    if not rest:
        parser.error("what to run goes behind a --")
    for name, least in (("processes", 1), ("devices_per_process", 1), ("restart", 0), ("grace", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"{name}={value} must be at least {least}")
    return args, rest


def main(argv: Sequence[str]) -> int:
    """Runs the processes, again where they may be, and hands SIGINT and SIGTERM on; returns the exit status."""
    args, arguments = parse(argv)
    group, stopping, times = None, None, args.restart

    def hand_on(number, frame):
        nonlocal stopping
        stopping = signal.SIGTERM if number == signal.SIGHUP else number
        if group is not None:
            group.ask(stopping)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(number, hand_on)
    devices = args.devices_per_process
    environment = {} if devices is None else {"JAX_NUM_CPU_DEVICES": str(devices)}
    while True:
        group = Group(cluster_commands(arguments, args.processes), environment)
        if stopping:  # the signal came while they were started
            group.ask(stopping)
        status = group.wait(args.grace)
        if stopping or not times or not restarts(status):
            return status
        times -= 1
        print(f"launch_local: ended with status {status}; starting again ({times} more times)", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
