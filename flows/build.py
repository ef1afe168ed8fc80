"""The Prefect flow `build`: the composition of `vecmill build`, a task run per stage or shard.

The run is named after the space and the build id, leaves its counts, audits and report as
artifacts, and ends Failed in a state named `Refused` when a gate refused the build.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from flows.artifacts import leave_artifacts
from flows.compose import build_space
from flows.outcome import PUBLISHED
from flows.prefect_runner import PrefectRunner
from flows.space_limit import turn
from schemas.load import load_spec, parse_spec
from schemas.spec import BuildOverrides, SpaceSpec


@flow(name="build", validate_parameters=True)
def build(spec: str | SpaceSpec, overrides: BuildOverrides | None = None) -> State:
    """Bring a space up to date and publish it.

    Args:
        spec: Path or URI of the space's YAML file, or the same model inline (relative paths are
            then relative to the folder where the worker runs).
        overrides: What this one run decides for itself.
    """
    resolved = load(spec)
    build_id = _build_id()
    _name_run(f"{resolved.space}-{build_id}")
    with turn(resolved):
        outcome = build_space(resolved, overrides or BuildOverrides(), PrefectRunner(), build_id)
    leave_artifacts(outcome)
    if outcome.exit_code == PUBLISHED:
        get_run_logger().info(outcome.message)
        return Completed(message=outcome.message, data=outcome)
    get_run_logger().error(outcome.message)
    return Failed(name="Refused", message=outcome.message, data=outcome)


def load(spec: str | SpaceSpec) -> SpaceSpec:
    """The spec that a flow was given: read from its place, or settled where the worker runs."""
    if isinstance(spec, str):
        return load_spec(spec)
    written = spec.model_dump(by_alias=True, exclude_unset=True)
    return parse_spec(written, Path.cwd(), "spec")


def _build_id() -> str:
    """Random; begins with the run's own id so that the two are found together.

    A run that is tried again is another build, so the rest is drawn anew each time.
    """
    run = str(flow_run.id or "").replace("-", "")
    return f"{run[:8]}{secrets.token_hex(4)}" if run else secrets.token_hex(8)


def _name_run(name: str) -> None:
    if flow_run.id is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, name=name)
