"""One child process that answers calls, one at a time.

    parent: call(function, arguments) ─ socket pair ─ child (`serve.py`): function(*arguments)
            progress, then result or error ◄────────────┘

It is a fresh interpreter, not a copy of this one: CUDA and Lance do not survive a fork, and a
variable such as `CUDA_VISIBLE_DEVICES` counts from the child's first import on. The caller's main
module is not imported there, so a script needs no `__main__` guard. Both ends are this program:
what the socket pair carries comes from nobody else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Pipe
from typing import Any

from schemas.progress import SILENT, Progress
from tasks.processes.messages import receive

END_SECONDS = 10.0
"""A process whose connection broke is gone in milliseconds; one that stays longer is killed."""


class ProcessDied(Exception):
    """The child ended while a call was under way; `code` is its exit code, −n for signal n."""

    def __init__(self, code: int) -> None:
        super().__init__(ending(code))
        self.code = code


class Spawned:
    """A child process; `environment` is laid over this process's own. `label` is for people."""

    def __init__(self, label: str, environment: Mapping[str, str]) -> None:
        self.label = label
        self.fresh = True
        """Whether no call has come back with a result yet."""
        self.answering = False
        """Whether a call is under way: one that was interrupted leaves its answer behind."""
        self._connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                # -P: a folder `tasks` where the command was started is not ours.
                [sys.executable, "-P", "-m", "tasks.processes.serve", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
                | dict(environment),
            )
        finally:
            theirs.close()  # so that the connection ends with the child

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def call(
        self, function: Callable[..., Any], *arguments: Any, progress: Progress | None = None
    ) -> Any:
        """`function(*arguments)` as the child computes it; `function` is one of a module's own.

        With `progress` the function gets a `progress` too, which tells this one. Raises what it
        raised there, or `ProcessDied`.
        """
        listener = progress or SILENT
        try:
            self._connection.send((function, arguments, progress is not None))
            self.answering = True
            while True:
                word, content = receive(self._connection)
                if word != "progress":
                    break
                more, named = content
                listener.advance(*more, **named)
        except (EOFError, ConnectionError) as error:
            raise ProcessDied(self._ended()) from error
        self.answering = False
        if word == "error":
            raise content
        self.fresh = False
        return content

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._connection.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _ended(self) -> int:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(END_SECONDS)
        self._process.kill()
        return self._process.wait()


def ending(code: int) -> str:
    """How a process ended, in words, with the usual cause."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if code == -signal.SIGKILL:
        return f"killed by {name}, as the system does where memory runs out"
    return f"killed by {name}"
