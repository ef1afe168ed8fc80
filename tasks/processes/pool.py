"""Several child processes that share calls; one that dies has its call tried again in another.

call ─ waits for an idle process ─ answered ─ idle again
                                 └ died → told, replaced ─ the call again, `TRIES` times in all
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock
from typing import Any

from schemas.errors import VecmillError
from schemas.progress import Counted, Progress
from tasks.processes.spawned import ProcessDied, Spawned

TRIES = 3
"""A machine out of memory kills once; a call that ended three processes ends every one."""


@dataclass(frozen=True)
class Place:
    """Where a process runs: `label` for people ("GPU 1"), `environment` for the process."""

    label: str
    environment: Mapping[str, str]


class ProcessDiedError(VecmillError):
    """A call ended every process that tried it."""


class ProcessPool:
    """One process for each of `places`; safe to call from several threads.

    `kind` names the processes for people; `say` is told of a death. `first`: a function and its
    arguments that each process is called with before anything else.
    """

    def __init__(
        self,
        kind: str,
        places: Sequence[Place],
        say: Callable[[str], None],
        first: tuple[Any, ...] | None = None,
    ) -> None:
        self._kind, self._say, self._first = kind, say, first
        self._idle: SimpleQueue[Spawned | None] = SimpleQueue()
        self._all: dict[int, Spawned] = {}
        self._closed = False
        self._lock = Lock()
        self._places = {place.label: place for place in places}
        for place in places:
            self._start(place)

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of those that live."""
        with self._lock:
            return list(self._all)

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        progress: Progress | None = None,
        what: str = "a call",
    ) -> Any:
        """`function(*arguments)` in the next idle process (see `Spawned.call`); blocks.

        `what` names the call for people. Raises what it raised there; `ProcessDiedError` when it
        ended every process that tried it; `KeyboardInterrupt` when a Ctrl-C ended them.
        """
        endings: list[str] = []
        while len(endings) < TRIES:
            process = self._next()
            counted = Counted(progress) if progress else None
            try:
                if process.fresh and self._first:
                    process.call(*self._first)
                answer = process.call(function, *arguments, progress=counted)
            except ProcessDied as died:
                self._replace(process)
                if died.code == -signal.SIGINT:
                    raise KeyboardInterrupt from died
                endings.append(f"{process.label}: {died}")
                if counted:
                    counted.take_back()
                if len(endings) < TRIES:
                    self._say(
                        f"the {self._kind} process on {process.label} died at {what} ({died}); "
                        f"it is tried again in another"
                    )
            except BaseException:
                if process.answering:
                    self._replace(process)
                else:
                    self._idle.put(process)
                raise
            else:
                self._idle.put(process)
                return answer
        raise ProcessDiedError(
            f"{what} ended {len(endings)} {self._kind} processes, one after the other "
            f"({'; '.join(endings)}). Finished work is kept: run the same command again with fewer "
            f"workers (--max-workers 1), or where there is more memory"
        )

    def close(self) -> None:
        """End every process, whatever it is doing."""
        with self._lock:
            self._closed = True
            processes = list(self._all.values())
            self._all.clear()
        self._idle.put(None)
        for process in processes:
            process.close()

    def _next(self) -> Spawned:
        """The next idle process."""
        process = self._idle.get()
        if process is None or self._closed:
            self._idle.put(None)  # for whoever else waits
            raise RuntimeError(f"the {self._kind} processes were ended")
        return process

    def _start(self, place: Place) -> None:
        with self._lock:
            if self._closed:
                return
            process = Spawned(place.label, place.environment)
            self._all[process.pid] = process
        self._idle.put(process)

    def _replace(self, dead: Spawned) -> None:
        with self._lock:
            self._all.pop(dead.pid, None)
        dead.close()
        try:
            self._start(self._places[dead.label])
        except OSError:
            if not self.pids:
                self.close()  # else whoever asks for the next process waits for ever
            raise
