"""Runs the Prefect flow `build` in this process, against the configured server."""

from __future__ import annotations

from typing import Any, cast

from flows.build import build
from flows.outcome import Outcome
from schemas.spec import BuildOverrides


def run_flow(spec: str, overrides: BuildOverrides) -> Outcome:
    """The outcome of one run of the flow; `spec` is an absolute path or a URI.

    A refused build ends in a failed state that carries its outcome; any other failure raises what
    the flow raised.
    """
    # Prefect's own types do not know that a flow may return a state.
    run = cast(Any, build)
    state = run(spec, overrides, return_state=True)
    return cast(Outcome, state.result(raise_on_failure=state.name != "Refused"))
