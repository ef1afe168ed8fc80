"""The child's side of `spawned.py`: answer calls until the parent is gone.

python -m tasks.processes.serve FD
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from tasks.processes.messages import Message, send


class Telling:
    """A `Progress` that tells the parent's."""

    def __init__(self, connection: Connection, lock: Lock) -> None:
        self._connection, self._lock = connection, lock

    def advance(self, *more: Any, **named: Any) -> None:
        """Pass on whatever a progress is told."""
        with self._lock:
            send(self._connection, Message.of(("progress", (more, named))))


def serve(connection: Connection) -> None:
    """Answer one call after the other; ends the process when the parent ended or hung up."""
    calls: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_receive, args=(connection, calls), daemon=True).start()
    lock = Lock()  # a function may tell its progress from several threads
    while True:
        answer = _answer(calls.get(), connection, lock)
        with lock:
            send(connection, answer)


def _receive(connection: Connection, calls: SimpleQueue[bytes]) -> None:
    """A parent that was killed takes its children with it, in the middle of a call too."""
    try:
        while True:
            calls.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


def _answer(call: bytes, connection: Connection, lock: Lock) -> Message:
    try:
        function, arguments, tells = ForkingPickler.loads(call)
        named = {"progress": Telling(connection, lock)} if tells else {}
        return Message.of(("result", function(*arguments, **named)))
    except Exception as error:  # noqa: BLE001  told to the caller, as it is
        return _failure(error)


def _failure(error: Exception) -> Message:
    """The error itself where it can travel, else one that says the same; with its traceback."""
    told = "".join(traceback.format_exception(error))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001  whatever a library's error does when it is copied
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if os.environ.get("VECMILL_DEBUG"):
        error.add_note(f"in a child process:\n{told}")
    return Message.of(("error", error))


def main() -> None:
    """Ctrl-C reaches the whole group of processes: this one ends without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
