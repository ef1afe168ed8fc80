"""Several worker processes embed a build's shards; here they are of the CPU.

What they publish is what one process publishes, whoever dies meanwhile.
"""

from __future__ import annotations

import lance
import numpy as np
import psutil
import pyarrow as pa
import pytest

import made_embedder
from flows.progress import StageBars
from flows.runner import PlainRunner
from tasks.embed import workers
from tasks.processes.pool import Place, ProcessDiedError


class Bars(StageBars):
    """Keeps what is said of workers."""

    def __init__(self) -> None:
        super().__init__("quiet")
        self.said: list[str] = []

    def say(self, text: str) -> None:
        if "worker" in text:
            self.said.append(text)


@pytest.fixture
def bars() -> Bars:
    return Bars()


@pytest.fixture
def two_devices(monkeypatch):
    """Two devices, and workers that embed with the made word model; shards of eight notes."""
    places = [Place(f"CPU {i}", {workers.VISIBLE: ""}) for i in range(2)]
    monkeypatch.setattr(workers, "devices", lambda engine: places)
    monkeypatch.setattr(workers, "embed_shard", made_embedder.embed_shard)
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    monkeypatch.setattr("tasks.plan.shards.PER_SHARD", {"text": 8})


def table(notes) -> pa.Table:
    columns = ["id", "text", "content_hash", "vector"]
    return lance.dataset(notes.ref.path, version="prod").to_table(columns).sort_by("id")


def test_workers_publish_what_one_process_publishes(
    notes, texts, bars, two_devices, monkeypatch, tmp_path_factory
) -> None:
    outcome = notes.build(PlainRunner(bars), yes=True)
    assert outcome.manifest.counts.embedded == 30
    assert bars.said == ["2 embed workers: CPU 0, CPU 1"]
    by_workers = table(notes)

    notes.folder = tmp_path_factory.mktemp("alone")
    notes.write(texts)
    monkeypatch.setattr(workers, "devices", lambda engine: [])
    notes.build(yes=True)
    assert table(notes).equals(by_workers)


def test_a_killed_worker_is_told_and_its_shard_is_tried_again(
    notes, bars, two_devices, monkeypatch, tmp_path
) -> None:
    mark = tmp_path / "killed"
    monkeypatch.setenv(made_embedder.DIES_AT, str(mark))

    outcome = notes.build(PlainRunner(bars), yes=True)

    assert outcome.manifest.counts.embedded == 30
    assert not psutil.pid_exists(int(mark.read_text()))
    [line] = [line for line in bars.said if "died" in line]
    assert "the embed worker process on CPU" in line
    assert "died at shard 1 (killed by SIGKILL" in line
    vectors = table(notes).column("vector").combine_chunks().flatten().to_numpy()
    assert np.isfinite(vectors).all()


def test_a_shard_that_ends_every_worker_ends_the_build(
    notes, bars, two_devices, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(workers, "embed_shard", made_embedder.die)
    before = psutil.Process().children()  # servers of other tests

    with pytest.raises(ProcessDiedError, match=r"ended 3 embed worker processes"):
        notes.build(PlainRunner(bars), yes=True)

    assert set(psutil.Process().children()) <= set(before)
    monkeypatch.setattr(workers, "embed_shard", made_embedder.embed_shard)
    assert notes.build(PlainRunner(bars), yes=True).manifest.counts.embedded == 30


def test_max_workers_caps_them(notes, texts, bars, two_devices) -> None:
    notes.changes["compute"] = {"max_workers": 1}
    notes.build(PlainRunner(bars), yes=True)
    assert bars.said == []

    notes.write(texts | {"n1": "w5 w6", "n2": "w7"})
    outcome = notes.build(PlainRunner(bars), max_workers=2)
    assert outcome.manifest.counts.embedded == 2
    assert bars.said == []  # one shard needs one process


def test_one_gpu_gets_two_shards_at_a_time_in_this_process(notes, bars, monkeypatch) -> None:
    monkeypatch.setattr(workers, "devices", lambda engine: [Place("GPU 0", {})])
    monkeypatch.setattr("tasks.plan.shards.PER_SHARD", {"text": 8})
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    asked: list[int] = []

    class Runner(PlainRunner):
        def map(self, stage, function, calls, **options):
            asked.extend([options["workers"]] if stage == "embed" else [])
            return super().map(stage, function, calls, **options)

    assert notes.build(Runner(bars), yes=True).manifest.counts.embedded == 30
    assert asked == [2]
    assert bars.said == []
    assert workers.shards_at_a_time("torch", 1) == 1
    monkeypatch.setattr(workers, "devices", lambda engine: [])
    assert workers.shards_at_a_time("torch", None) == 1


@pytest.mark.parametrize(
    ("nodes", "visible", "count", "expected"),
    [
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], None, 2, ["0", "1"]),
        (["nvidia0", "nvidia1", "nvidia2"], "2, 0", 2, ["2", "0"]),
        (["nvidia0", "nvidia1"], "GPU-77", 1, ["GPU-77"]),
        (["nvidia0", "nvidia1"], "", 0, []),
        (["nvidia0", "nvidiactl"], None, 1, ["0"]),
        ([], None, 0, []),
    ],
)
def test_a_worker_gets_a_device_that_this_process_may_use(
    nodes, visible, count, expected, monkeypatch, tmp_path
) -> None:
    for node in nodes:
        (tmp_path / node).touch()
    monkeypatch.setattr(workers, "DEVICE_NODES", tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv(workers.VISIBLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(workers.VISIBLE, visible)

    assert [place.environment[workers.VISIBLE] for place in workers.devices("torch")] == expected
    assert workers.devices("openvino") == []


def test_cores_are_shared_out_unless_the_user_said_how(monkeypatch) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("RAYON_NUM_THREADS", "3")
    one, _ = workers.shared_out([Place("GPU 0", {workers.VISIBLE: "0"}), Place("GPU 1", {})])
    shared = {"VECMILL_CORES": "8", "OMP_NUM_THREADS": "8"}
    assert one.environment == {workers.VISIBLE: "0", **shared}


def test_prefect_runs_have_workers_too(notes, two_devices, server, monkeypatch, tmp_path) -> None:
    from flows.build import build
    from schemas.spec import BuildOverrides

    mark = tmp_path / "killed"
    monkeypatch.setenv(made_embedder.DIES_AT, str(mark))

    state = build(str(notes.spec_file()), BuildOverrides(yes=True), return_state=True)

    assert state.is_completed(), state.message
    assert state.result().manifest.counts.embedded == 30
    assert not psutil.pid_exists(int(mark.read_text()))


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_a_prefect_task_that_is_tried_again_counts_its_rows_once(
    notes, server, monkeypatch, at_a_time
) -> None:
    from flows import prefect_runner
    from flows.build import build
    from schemas.spec import BuildOverrides
    from tasks.embed import embed_shard as module

    told: list[int] = []

    def advance(self, rows, **_more):
        told.extend([rows] if self._stage == "embed" else [])

    monkeypatch.setattr(prefect_runner.LogProgress, "advance", advance)
    monkeypatch.setattr(workers, "shards_at_a_time", lambda engine, most: at_a_time)
    monkeypatch.setattr("tasks.plan.shards.PER_SHARD", {"text": 16})
    monkeypatch.setattr(module, "load", made_embedder.WordEmbedder)
    write, failures = module._write_vectors, [OSError("the store did not answer")]

    def fails_once(*arguments):
        if failures:
            raise failures.pop()
        return write(*arguments)

    monkeypatch.setattr(module, "_write_vectors", fails_once)
    task = prefect_runner.TASKS[module.embed_shard]
    monkeypatch.setattr(task, "retry_delay_seconds", 0)

    state = build(str(notes.spec_file()), BuildOverrides(yes=True), return_state=True)

    assert state.is_completed(), state.message
    assert not failures
    assert state.result().manifest.counts.embedded == 30
    assert sum(told) == 30
    assert sum(rows for rows in told if rows > 0) > 30
