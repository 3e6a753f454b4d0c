"""Stopping when somebody asks, at a moment when nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading


class Interruption:
    """Ctrl-C and SIGTERM as a flag that the loop looks at once a chunk; a second Ctrl-C stops at once.

    Attributes:
      status: what the program ends with after such a stop: 128 + the number of the signal, so 143 for SIGTERM, by which
        a scheduler knows that the work is to be continued, and 130 for Ctrl-C. 143 where another process was asked.
    """

    def __enter__(self):
        self._flag, self._before = threading.Event(), {}
        self.status = 128 + signal.SIGTERM
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number, frame):
        if self._flag.is_set():
            raise KeyboardInterrupt
        self._flag.set()
        self.status = 128 + number
        print("stopping: saving a checkpoint first (again to stop at once)", file=sys.stderr)

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Whether somebody asked for a stop."""
        return self._flag.is_set()
