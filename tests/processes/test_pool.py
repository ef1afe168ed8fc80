"""Child processes answer calls, tell how far they are, and are replaced when they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import psutil
import pytest

import made_calls
from schemas.errors import UsageError
from tasks.processes.pool import Place, ProcessDiedError, ProcessPool


class Rows:
    """A listener that adds up."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def advance(self, rows: int) -> None:
        self.told.append(rows)


class Said(list):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def pool(said: Said) -> Iterator[ProcessPool]:
    places = [Place(f"device {i}", {"DEVICE": str(i)}) for i in range(2)]
    with ProcessPool("test", places, said) as pool:
        yield pool


def test_calls_are_shared_by_processes_with_their_own_environment(pool: ProcessPool) -> None:
    with ThreadPoolExecutor(2) as threads:
        places = set(threads.map(lambda _: pool.call(made_calls.where, "DEVICE"), range(20)))

    assert {device for _, device in places} == {"0", "1"}
    assert {pid for pid, _ in places} == set(pool.pids)
    assert os.getpid() not in pool.pids


def test_a_child_is_a_fresh_interpreter_without_the_callers_main_module(pool: ProcessPool) -> None:
    assert pool.call(eval, "__import__('sys').modules['__main__'].__spec__.name") == (
        "tasks.processes.serve"
    )


def test_progress_is_told_here(pool: ProcessPool) -> None:
    rows = Rows()
    assert pool.call(made_calls.count, 3, progress=rows) == 3
    assert rows.told == [1, 1, 1]


def test_an_error_of_the_call_is_raised_here_and_the_process_lives_on(pool: ProcessPool) -> None:
    before = set(pool.pids)
    for _ in range(3):
        with pytest.raises(UsageError, match="'word' is refused"):
            pool.call(made_calls.refuse, "word")
    assert pool.call(made_calls.add, 1, 2) == 3
    assert set(pool.pids) == before


def test_an_error_that_cannot_be_copied_says_the_same(pool: ProcessPool) -> None:
    with pytest.raises(RuntimeError, match="SourceError: nothing there"):
        pool.call(made_calls.refuse_source)


def test_a_killed_process_is_told_and_its_call_tried_in_another(
    pool: ProcessPool, said: Said, tmp_path: Path
) -> None:
    rows, before = Rows(), set(pool.pids)
    call = (made_calls.killed_once, tmp_path / "mark")

    assert pool.call(*call, progress=rows, what="shard 7") == "done"

    assert sum(rows.told) == 3
    assert rows.told == [2, -2, 2, 1]
    [line] = said
    assert "test process on device" in line
    assert "died at shard 7 (killed by SIGKILL" in line
    assert len(pool.pids) == 2
    assert set(pool.pids) != before


def test_a_call_that_kills_every_process_is_given_up(pool: ProcessPool, said: Said) -> None:
    with pytest.raises(ProcessDiedError, match="shard 3 ended 3 test processes") as failure:
        pool.call(made_calls.killed, signal.SIGKILL, what="shard 3")

    assert "memory runs out" in str(failure.value)
    assert "--max-workers 1" in str(failure.value)
    assert len(said) == 2
    assert pool.call(made_calls.add, 1, 2) == 3


def test_ctrl_c_in_a_child_is_no_death_to_be_tried_again(pool: ProcessPool, said: Said) -> None:
    with pytest.raises(KeyboardInterrupt):
        pool.call(made_calls.killed, signal.SIGINT)
    assert said == []


def test_closing_ends_every_process(said: Said) -> None:
    with ProcessPool("test", [Place("device", {})], said) as pool:
        [pid] = pool.pids
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    with pytest.raises(RuntimeError, match="test processes were ended"):
        pool.call(made_calls.add, 1, 2)


def test_what_each_process_begins_with_is_tried_until_it_succeeds(said: Said) -> None:
    first = (made_calls.refuse, "word")
    with ProcessPool("test", [Place("device", {})], said, first) as pool:
        for _ in range(2):
            with pytest.raises(UsageError, match="'word' is refused"):
                pool.call(made_calls.add, 1, 2)


def test_nobody_waits_for_a_process_that_cannot_be_started(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cannot allocate memory")

    raised: list[BaseException] = []

    def call() -> None:
        try:
            pool.call(made_calls.killed, signal.SIGKILL)
        except (OSError, RuntimeError) as error:
            raised.append(error)

    with ProcessPool("test", [Place("device", {})], said) as pool:
        monkeypatch.setattr("tasks.processes.pool.Spawned", refuse)
        for _ in range(2):
            thread = Thread(target=call, daemon=True)
            thread.start()
            thread.join(30)
    assert [type(error) for error in raised] == [OSError, RuntimeError]


PARENT = """
import sys
from pathlib import Path
import made_calls
from tasks.processes.pool import Place, ProcessPool

pool = ProcessPool("test", [Place("device", {})], print)
print(*pool.pids, flush=True)
pool.call(made_calls.touch_after, Path(sys.argv[1]), 60)
"""


def test_children_end_with_a_parent_that_is_killed_in_a_call(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "mark")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    until = time.monotonic() + 30
    while not (tmp_path / "mark.begun").exists():
        assert time.monotonic() < until
        time.sleep(0.05)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    child.wait(10)  # raises when it is still there
    assert not (tmp_path / "mark").exists()
