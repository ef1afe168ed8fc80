"""The build as a Prefect flow, and as a deployment that a worker runs, on one local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from made_words import sentence
from schemas.errors import VecmillError
from schemas.manifest import Manifest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def client(server):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def run_flow(spec, **overrides):
    """The final state of one run in this process, and the run as the server knows it."""
    from flows.build import build
    from schemas.spec import BuildOverrides

    return build(spec, BuildOverrides(**overrides), return_state=True)


def last_run(client):
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(limit=1, sort=FlowRunSort.EXPECTED_START_TIME_DESC)[0]


def artifacts_of(client, run) -> set[str]:
    wanted = {"artifacts": {"flow_run_id": {"any_": [str(run.id)]}}}
    found = client._client.post("/artifacts/filter", json=wanted)
    return {artifact["key"] for artifact in found.json()}


def task_names(client, run, expected: tuple[str, ...]) -> list[str]:
    """Names of the run's tasks; the server hears of them a moment after they ran."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    for _ in range(100):
        names = sorted(task.name for task in client.read_task_runs(flow_run_filter=wanted))
        if all(any(part in name for name in names) for part in expected):
            break
        time.sleep(0.1)
    return names


STAGES = (
    *("reconcile", "list sources", "read docs", "find repeated keys", "validate docs"),
    *("validate state", "chunk docs", "mark exact duplicates", "plan"),
    *("find what is known to fail", "embed shard"),
    *("hash the input", "stage the candidate", "audit the candidate", "publish"),
)


def test_the_flow_publishes_what_the_plain_build_publishes(notes, client):
    state = run_flow(str(notes.spec_file()))
    assert state.is_completed(), state.message
    run = last_run(client)
    build_id = state.result().manifest.build_id
    assert run.name == f"notes-{build_id}"
    assert build_id.startswith(str(run.id).replace("-", "")[:8])
    assert artifacts_of(client, run) == {"notes-counts", "notes-audits", "notes-report"}
    assert len(notes.content()) == 30
    names = task_names(client, run, STAGES)
    assert [s for s in STAGES if not any(s in name for name in names)] == []
    assert len(names) == len(STAGES)  # none runs twice
    assert notes.build().message == "'notes' is up to date: v0001 stands, nothing was written"


def test_a_refused_build_ends_failed_in_a_state_named_refused(notes, client):
    path = str(notes.spec_file())
    notes.write({"a": sentence(1), "b": "", "c": ""})
    state = run_flow(path)
    assert (state.type.value, state.name) == ("FAILED", "Refused")
    assert "max_reject_share:docs" in state.message
    assert last_run(client).state.name == "Refused"
    assert artifacts_of(client, last_run(client)) == {
        "notes-counts",
        "notes-audits",
        "notes-report",
    }


def test_the_spec_may_be_given_inline(notes, client):
    from schemas.spec import SpaceSpec

    spec = SpaceSpec.model_validate(notes.spec.model_dump(exclude_unset=True, by_alias=True))
    state = run_flow(spec, yes=True)
    assert state.is_completed(), state.message


def test_the_flow_maintains_what_the_command_maintains(notes, texts, client):
    from flows.maintain import maintain

    notes.build()
    notes.write({**texts, "more": sentence(7)})
    notes.build()
    state = maintain(str(notes.spec_file()), keep=1, grace_minutes=0, return_state=True)
    assert state.is_completed(), state.message
    assert state.result()["retired"] == ["v0001"]
    assert artifacts_of(client, last_run(client)) == {"notes-upkeep"}
    assert len(notes.content()) == 31


def test_clusters_are_fitted_and_fitted_anew_in_runs_of_their_own(notes, texts, client):
    from flows.maintain import maintain

    notes.changes["cluster"] = {"k": 3}
    assert run_flow(notes.spec_file().as_posix()).is_completed()
    names = task_names(client, last_run(client), ("fit clusters and map", "audit the fit"))
    named = [name.rpartition("-")[0] for name in names if "fit" in name]
    assert named == ["audit the fit", "fit clusters and map"]
    texts |= {f"more{i}": sentence(i, 200 + i) for i in range(20)}
    notes.write(texts)
    first = notes.build().manifest.fit_id
    state = maintain(str(notes.spec_file()), refit=True, return_state=True)
    assert state.is_completed(), state.message
    said = state.result()["refit"]
    assert (said["release"], said["published"], said["fit_id"] != first) == ("v0003", True, True)
    notes.write({**texts, "last": sentence(3, 5)})
    state = maintain(str(notes.spec_file()), refit=True, return_state=True)
    assert state.is_failed()
    assert "there is something to build" in state.message


class TestTheCommand:
    """`vecmill build` with a server configured is a run of the flow, and tells the same."""

    @pytest.fixture(autouse=True)
    def configured(self, server, monkeypatch):
        monkeypatch.setenv("PREFECT_API_URL", server)

    def test_a_process_of_its_own(self, notes, client, server):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "build", str(notes.spec_file()), "--json"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        manifest = Manifest.from_json(done.stdout)  # one document and nothing else
        assert (manifest.release, manifest.published) == ("v0001", True)
        assert "published v0001 of 'notes': 30 rows" in done.stderr
        assert last_run(client).name == f"notes-{manifest.build_id}"

    def test_refused_is_3(self, notes, texts, client):
        notes.build()
        notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
        answer = notes.command("build", "--json")
        assert answer.code == 3
        assert Manifest.from_json(answer.out).refused_by == ("max_reject_share:docs",)
        assert "refused by max_reject_share:docs" in answer.err
        assert last_run(client).state.name == "Refused"

    def test_nothing_to_do_is_0(self, notes, client):
        plain = notes.build(), notes.build()
        answer = notes.command("build")
        assert (answer.code, answer.out.strip()) == (0, plain[1].message)
        assert last_run(client).state.is_completed()

    def test_a_mistake_is_2_and_an_error_1_with_its_stage(self, notes, spoiled):
        def fail(vectors):
            raise VecmillError("the embedder is out of words; give it some")

        (notes.folder / "notes.jsonl").rename(notes.folder / "away.jsonl")
        answer = notes.command("build")
        assert (answer.code, answer.out) == (2, "")
        assert "notes.jsonl" in answer.err
        (notes.folder / "away.jsonl").rename(notes.folder / "notes.jsonl")
        spoiled(fail)
        answer = notes.command("build")
        assert (answer.code, answer.out) == (1, "")
        assert "give it some\n  in stage embed" in answer.err  # and not tried again

    def test_a_server_that_does_not_answer_is_named(self, notes):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "build", str(notes.spec_file())],
            cwd=REPOSITORY,
            env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "server at http://127.0.0.1:9/api does not answer" in done.stderr
        assert "unset PREFECT_API_URL" in done.stderr

    def test_a_retry_is_a_run_of_the_flow(self, notes, client):
        notes.changes["expectations"] = {"max_reject_share": 0.5}
        with (notes.folder / "notes.jsonl").open("a") as lines:
            lines.write("{broken\n")
        notes.build()
        answer = notes.command("rejects", "--retry", "--json")
        assert answer.code == 0
        assert "1 reject tried again, none healed" in answer.err
        found = json.loads(answer.out)
        assert [reason["examples"][0]["attempts"] for reason in found["reasons"]] == [2]
        run = last_run(client)
        assert run.name == f"notes-{found['build_id']}"
        assert run.parameters["overrides"]["retry"] is True
        assert any("retry docs" in name for name in task_names(client, run, ("retry docs",)))

    def test_a_dry_run_needs_no_server(self, notes, client):
        before = last_run(client).id
        assert "30 new" in notes.command("build", "--dry-run").out
        assert last_run(client).id == before


def in_a_flow(function):
    """Call it inside a flow run: its result, or its error."""
    from prefect import flow

    return flow(name="test", persist_result=False)(function)()


@pytest.fixture
def slow(server, monkeypatch):
    """A stage function that is a task, with the largest number of its calls at a time."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    import flows.prefect_runner

    lock = threading.Lock()

    def wait_for(seconds: float, progress) -> float:
        with lock:
            wait_for.running += 1
            wait_for.most = max(wait_for.most, wait_for.running)
            wait_for.started.append(seconds)
        try:
            time.sleep(abs(seconds))
            if seconds < 0:
                raise VecmillError(f"{seconds} is in the past; wait for a positive time")
            return seconds
        finally:
            with lock:
                wait_for.running -= 1
                wait_for.finished.append(seconds)

    wait_for.running = wait_for.most = 0
    wait_for.started, wait_for.finished = [], []
    known = {wait_for: task(name="wait", cache_policy=NO_CACHE)(wait_for)}
    monkeypatch.setattr(flows.prefect_runner, "TASKS", known)
    return wait_for


class TestMap:
    """Several calls of one stage as task runs."""

    def mapped(self, function, seconds, workers):
        from flows.prefect_runner import PrefectRunner

        calls = [(each,) for each in seconds]
        return in_a_flow(lambda: PrefectRunner().map("embed", function, calls, workers=workers))

    @pytest.mark.parametrize("workers", [1, 2])
    def test_results_in_the_order_of_the_calls(self, slow, workers):
        seconds = [0.3, 0.0, 0.2, 0.1]
        assert self.mapped(slow, seconds, workers) == seconds
        assert slow.most == workers

    def test_nobody_waits_for_the_slowest(self, slow):
        self.mapped(slow, [1.5, 0.1, 0.1, 0.1, 0.1], 2)
        assert slow.finished == [0.1, 0.1, 0.1, 0.1, 1.5]
        assert slow.most == 2

    @pytest.mark.parametrize("workers", [1, 2])
    def test_an_error_is_the_functions_own_and_ends_the_stage(self, slow, workers):
        with pytest.raises(VecmillError, match="wait for a positive time") as error:
            self.mapped(slow, [-0.1, 0.3, 0.3, 0.3, 0.3], workers)
        assert error.value.__notes__ == ["in stage embed"]
        assert len(slow.started) < 5


class TestRetriedRuns:
    """A deployment may let Prefect try a failed run again: that is another build."""

    def test_the_second_try_finds_what_the_first_made(self, notes, server, monkeypatch):
        from flows.build import build
        from flows.compose import stage

        builds = []

        def fail_once(base, *arguments):
            builds.append(base.build_id)
            if len(builds) == 1:
                raise ConnectionError("the bucket does not answer")
            return stage(base, *arguments)

        monkeypatch.setattr("flows.compose.stage", fail_once)
        trying = build.with_options(retries=1, retry_delay_seconds=0)
        state = trying(str(notes.spec_file()), return_state=True)
        assert state.is_completed(), state.message
        manifest = state.result().manifest
        assert (manifest.release, manifest.counts.embedded) == ("v0001", 0)
        assert builds[0] != builds[1] == manifest.build_id
        assert builds[0][:8] == builds[1][:8]  # of one flow run
        assert notes.tags().keys() == {"", "prod", "v0001", "data-v0001"}


class TestTurns:
    """Builds of one space take turns by a concurrency limit, and none waits for ever."""

    @pytest.fixture
    def said(self, monkeypatch) -> list[str]:
        """What the runs say about their turns."""
        lines: list[str] = []
        log = type("Log", (), {"info": lines.append, "warning": lines.append})
        monkeypatch.setattr("flows.space_limit.get_run_logger", lambda: log)
        return lines

    @pytest.fixture
    def holding(self, notes, server):
        """Another run holds the turn of `notes` until it is told to end."""
        from flows.space_limit import turn

        taken, end = threading.Event(), threading.Event()

        def hold() -> None:
            with turn(notes.spec):
                taken.set()
                end.wait(60)

        holder = threading.Thread(target=in_a_flow, args=(hold,))
        holder.start()
        assert taken.wait(60)
        yield end
        end.set()
        holder.join()

    def test_a_second_build_waits_and_says_so(self, notes, said, holding):
        released = threading.Timer(3, holding.set)
        released.start()
        began = time.monotonic()
        assert run_flow(str(notes.spec_file())).is_completed()
        assert time.monotonic() - began >= 2
        assert [line.split(",")[0] for line in said] == [
            "another build of 'notes' is running: waiting for its end"
        ]

    def test_who_waited_for_long_goes_on(self, notes, said, holding, monkeypatch):
        monkeypatch.setattr("flows.space_limit.WAIT_SECONDS", 1.0)
        assert run_flow(str(notes.spec_file())).is_completed()
        assert "did not end within 1 s: building beside it" in said[-1]

    def test_a_build_that_lost_its_lease_does_not_publish(self, notes, said, monkeypatch):
        from tasks.store.leases import LeaseLostError

        def lost(self) -> None:
            raise LeaseLostError("the lease is gone")

        monkeypatch.setattr("tasks.store.leases.HeldLease.check", lost)
        state = run_flow(str(notes.spec_file()))
        assert state.is_failed()
        with pytest.raises(LeaseLostError):
            state.result()
        assert set(notes.tags()) == {""}

    def test_another_place_is_another_limit(self, notes, said, holding):
        other = notes.spec.model_copy(update={"uri": str(notes.folder / "elsewhere")})
        assert run_flow(other).is_completed()
        assert said == []

    def test_the_limit_is_made_once_and_left_as_somebody_set_it(self, notes, said, client):
        from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

        from flows.space_limit import limit_name

        name = limit_name(notes.spec)
        assert run_flow(str(notes.spec_file())).is_completed()
        assert client.read_global_concurrency_limit_by_name(name).limit == 1
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=3))
        assert run_flow(str(notes.spec_file())).is_completed()
        limit = client.read_global_concurrency_limit_by_name(name)
        assert (limit.limit, limit.active_slots) == (3, 0)
        assert said == []


def test_the_flow_keeps_what_the_files_of_an_append_source_hold_no_more(notes, texts, server):
    notes.source(mode="append", on_repeat="latest")
    run_flow(str(notes.spec_file()))
    notes.write({"fresh": sentence(300)})
    state = run_flow(str(notes.spec_file()))
    assert state.is_completed(), state.message
    assert state.result().manifest.counts.embedded == 1
    assert {key.partition(":")[2] for key in notes.content()} == {*texts, "fresh"}


def test_nothing_is_kept_or_hashed_by_prefect():
    """No task has a cache policy or persists a result: the files are the record."""
    from prefect.cache_policies import NO_CACHE

    from flows.prefect_runner import TASKS

    assert TASKS
    for function, task in TASKS.items():
        assert task.fn is function
        assert task.cache_policy == NO_CACHE, task.name
        assert not task.persist_result, task.name


def test_a_worker_runs_the_deployment(notes, server, client, tmp_path):
    environment = {**os.environ, "PREFECT_API_URL": server, "PREFECT_HOME": str(tmp_path / "home")}

    def prefect(*words: str, cwd: Path = REPOSITORY) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words],
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    prefect("work-pool", "create", "cpu", "--type", "process")
    prefect("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    deployment = client.read_deployment_by_name("build/default")
    run = client.create_flow_run_from_deployment(
        deployment.id, parameters={"spec": str(notes.spec_file())}
    )
    # the worker stands in a folder of its own: the deployment names a module, not a path
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    prefect("worker", "start", "--pool", "cpu", "--run-once", cwd=elsewhere)
    run = client.read_flow_run(run.id)
    assert run.state.is_completed(), run.state
    assert run.name.startswith("notes-")
    assert len(notes.content()) == 30
