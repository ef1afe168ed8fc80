"""The build as a Prefect flow, and as a deployment that a worker runs, on one local server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from made_words import sentence

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A local Prefect server with a database of its own; yields its API URL."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture
def client(server):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def spec_file(notes) -> str:
    """The notes' spec as a YAML file, as a user would have it."""
    source = {"name": "docs", "kind": "text", "path": "notes.jsonl", "key": "key", "text": "text"}
    data = {
        "space": "notes",
        "uri": "./db",
        "workdir": "./work",
        "sources": [source],
        "chunk": None,
        "embedder": {"kind": "sentence-transformers", "model": str(notes.model)},
    }
    path = notes.folder / "notes.yaml"
    path.write_text(yaml.safe_dump(data))
    return str(path)


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


def task_names(client, run) -> list[str]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    return sorted(task.name for task in runs)


def test_the_flow_publishes_what_the_plain_build_publishes(notes, client):
    state = run_flow(spec_file(notes))
    assert state.is_completed(), state.message
    run = last_run(client)
    build_id = state.result().manifest.build_id
    assert run.name == f"notes-{build_id}"
    assert build_id.startswith(str(run.id).replace("-", "")[:8])
    assert artifacts_of(client, run) == {"notes-counts", "notes-audits", "notes-report"}
    assert len(notes.content()) == 30
    names = " ".join(task_names(client, run))
    for part in ("list sources", "read docs", "validate docs", "chunk docs", "plan", "embed shard"):
        assert part in names
    assert notes.build().message == "'notes' is up to date: v0001 stands, nothing was written"


def test_a_refused_build_ends_failed_in_a_state_named_refused(notes, client):
    path = spec_file(notes)
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
        deployment.id, parameters={"spec": spec_file(notes)}
    )
    # the worker stands in a folder of its own: the deployment names a module, not a path
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    prefect("worker", "start", "--pool", "cpu", "--run-once", cwd=elsewhere)
    run = client.read_flow_run(run.id)
    assert run.state.is_completed(), run.state
    assert run.name.startswith("notes-")
    assert len(notes.content()) == 30
