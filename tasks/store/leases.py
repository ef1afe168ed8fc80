"""Leases: who is at work in a `workdir`, and whether it still lives.

    with hold_lease(root, name, space, "build") as lease:   # leases/<name>.json, a heartbeat
        ...
        lease.check()                                       # before what cannot be taken back

A lease is dead at once where the process behind it can be looked up (same host, same boot, same
process namespace) and is gone; elsewhere when its heartbeat is older than its time to live. Only
what a dead lease left behind is swept; whoever lost a lease that way finds out by `check`.

The clock is that of the file system that holds the leases: hosts need not agree about the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from schemas.errors import VecmillError

HEARTBEAT = 15.0
"""Seconds between two signs of life."""

TIME_TO_LIVE = 300.0
"""Seconds without a sign of life after which a lease of another host is dead: 20 missed beats,
more than a network file system stalls."""

START_SLACK = 1.0
"""Seconds by which two readings of one process's start may differ."""

BURIED = ".dead"
"""Ends the name of a lease that was taken away from a dead holder: see `bury_dead`."""

Work = Literal["build", "maintain", "forget", "rollback"]


class LeaseLostError(VecmillError):
    """Somebody took this process for dead and swept what it had begun: nothing may be published."""


class BusyError(VecmillError):
    """Somebody else is at work where nobody may be."""


@dataclass(frozen=True)
class Holder:
    """A process on a host. `boot` and `namespace` tell whether its id can be looked up here."""

    host: str
    boot: str
    namespace: str
    process: int
    started: float

    @property
    def visible(self) -> bool:
        """Whether its process id can be looked up from here."""
        here = this_process()
        return (self.host, self.boot, self.namespace) == (here.host, here.boot, here.namespace)

    @property
    def running(self) -> bool:
        """Whether the process runs, for one that is `visible`."""
        try:
            process = psutil.Process(self.process)
            gone = process.status() == psutil.STATUS_ZOMBIE
            return not gone and abs(process.create_time() - self.started) <= START_SLACK
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


@dataclass(frozen=True)
class Lease:
    """One lease as it was read.

    `age` is seconds since its last sign of life, `last_sign` when that was (seconds since 1970).
    """

    name: str
    space: str
    work: Work
    holder: Holder
    age: float
    path: Path
    last_sign: float = 0.0
    table: str = ""  # the table that is worked on; "" where it was not said

    @property
    def living(self) -> bool:
        """Whether whoever holds it is still at work."""
        if self.holder.visible:
            return self.holder.running
        return self.age <= TIME_TO_LIVE

    def __str__(self) -> str:
        whose = f"process {self.holder.process} on {self.holder.host}"
        return f"{self.work} {self.name} of space {self.space!r} ({whose})"


class HeldLease:
    """This process's own lease while it is held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {path.stem}", daemon=True)

    def check(self) -> None:
        """Raise `LeaseLostError` where the lease was swept meanwhile; else it is a sign of life.

        So whoever checked has `TIME_TO_LIVE` before anybody may take it for dead: a sweeper that
        looked just before looks again once it has taken the lease away.
        """
        try:
            os.utime(self._path)
        except FileNotFoundError:
            raise LeaseLostError(
                f"the lease {self._path} is gone: this process gave no sign of life for more than "
                f"{TIME_TO_LIVE:.0f} s, or somebody deleted the workdir, and what it had staged "
                "may have been swept. Nothing was published; run again, finished vectors are kept"
            ) from None

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            try:
                os.utime(self._path)
            except OSError:
                # A file system that stutters, or a lease that is lost, as `check` will say: but a
                # sweeper that finds this beat gives it back.
                continue

    def _begin(self) -> None:
        self._thread.start()

    def _end(self) -> None:
        self._stop.set()
        self._path.unlink(missing_ok=True)


@contextmanager
def hold_lease(
    root: str | Path, name: str, space: str, work: Work, table: str = ""
) -> Iterator[HeldLease]:
    """Hold the lease `name` in the `workdir` at `root` for the time of the block.

    `table` is the path of the table that is worked on: spaces of one name may share a `workdir`.
    """
    folder = _folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    said = {"space": space, "work": work, "table": table, **asdict(this_process())}
    part = folder / f".tmp-{name}-{secrets.token_hex(4)}"
    try:
        part.write_text(json.dumps(said), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # on a full disk
    held = HeldLease(path)
    held._begin()
    try:
        yield held
    finally:
        held._end()


@contextmanager
def hold_alone(root: str | Path, name: str, space: str, work: Work) -> Iterator[HeldLease]:
    """`hold_lease` where nobody else is at work on the space; raises `BusyError` where one is.

    The own lease is written first, so that of two who ask at once at least one sees the other.
    """
    with hold_lease(root, name, space, work) as held:
        refuse_busy(root, space, work, besides=name)
        yield held


def refuse_busy(
    root: str | Path,
    space: str | None,
    work: str,
    *,
    besides: str,
    busy: tuple[Work, ...] = ("build", "maintain", "forget", "rollback"),
) -> None:
    """Raise `BusyError` while another living lease does `busy` work on the space (None: on any)."""
    others = [
        lease
        for lease in living_leases(root, space)
        if lease.name != besides and lease.work in busy
    ]
    if others:
        raise BusyError(
            f"{work}: " + ", ".join(map(str, others)) + " is at work in "
            f"{root}; expected nobody: wait until it has ended and run again"
        )


def read_leases(root: str | Path, space: str | None = None) -> list[Lease]:
    """Every lease in the `workdir`, living or dead, perhaps of one space alone; sorted by name.

    Those that `bury_dead` took away are not among them.
    """
    return _read(root, "*.json", space)


def read_buried(root: str | Path, space: str | None = None) -> list[Lease]:
    """The dead whose leases were taken away and who left something that is not swept yet."""
    return _read(root, f"*{BURIED}", space)


def bury_dead(root: str | Path) -> list[Lease]:
    """Take every dead lease away from its holder; returns all that are buried, now or before.

    A rename is atomic: from then on the holder's `check` fails, should it be alive after all. One
    that gave a sign of life in between gets its lease back.
    """
    for lease in read_leases(root):
        if not lease.living:
            buried = lease.path.with_suffix(BURIED)
            with contextlib.suppress(FileNotFoundError):  # another sweeper was faster
                lease.path.rename(buried)
                if any(each.name == lease.name and each.living for each in read_buried(root)):
                    buried.rename(lease.path)
    return read_buried(root)


def lease_lives(root: str | Path, name: str) -> bool:
    """Whether the lease of that name is there and its holder at work."""
    return any(lease.living for lease in _read(root, f"{name}.json", None))


def _read(root: str | Path, pattern: str, space: str | None) -> list[Lease]:
    folder = _folder(root)
    if not folder.is_dir() or not (paths := sorted(folder.glob(pattern))):
        return []
    now = _clock(folder)
    found = []
    for path in paths:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            last_sign = path.stat().st_mtime
        except FileNotFoundError:
            continue  # released meanwhile
        except ValueError as error:
            raise VecmillError(
                f"the lease {path} is not JSON ({error}), expected what a lease says: a power cut "
                "may have emptied it; see that nobody is at work there, delete it and run again"
            ) from error
        work, of, table = said.pop("work"), said.pop("space"), said.pop("table", "")
        found.append(
            Lease(path.stem, of, work, Holder(**said), now - last_sign, path, last_sign, table)
        )
    return [lease for lease in found if space in (None, lease.space)]


def living_leases(root: str | Path, space: str | None = None) -> list[Lease]:
    """The leases whose holders are still at work."""
    return [lease for lease in read_leases(root, space) if lease.living]


def this_process() -> Holder:
    """The holder that this process is."""
    process = psutil.Process()
    return Holder(
        host=socket.gethostname(),
        boot=_boot(),
        namespace=_namespace(),
        process=process.pid,
        started=process.create_time(),
    )


def _folder(root: str | Path) -> Path:
    return Path(root) / "leases"


def file_clock(root: str | Path) -> float:
    """Now in seconds since 1970, by the clock that stamps the `workdir`'s files."""
    folder = _folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    return _clock(folder)


def _clock(folder: Path) -> float:
    """Now, by the clock that stamps the leases."""
    probe = folder / f".tmp-now-{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _boot() -> str:
    """What changes when the host starts anew: its boot id, or where there is none its boot time."""
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    return str(round(psutil.boot_time()))


def _namespace() -> str:
    """The process namespace: containers of one host count their processes apart."""
    path = Path("/proc/self/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""
