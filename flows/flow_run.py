"""Runs the Prefect flow `build` in this process, against the configured server."""

from __future__ import annotations

from typing import Any, cast

from flows.build import build
from flows.outcome import Outcome
from flows.server import configured_server
from schemas.errors import VecmillError
from schemas.spec import BuildOverrides


def run_flow(spec: str, overrides: BuildOverrides) -> Outcome:
    """The outcome of one run of the flow; `spec` is an absolute path or a URI.

    A refused build ends in a failed state that carries its outcome; any other failure raises what
    the flow raised. Raises `VecmillError` when the server does not answer.
    """
    # Prefect's own types do not know that a flow may return a state.
    run = cast(Any, build)
    try:
        state = run(spec, overrides, return_state=True)
    except (RuntimeError, OSError) as error:
        if "Failed to reach API" not in str(error):
            raise
        raise VecmillError(
            f"the Prefect server at {configured_server()} does not answer ({error}), expected it "
            "to run the build; start it, or build without one: unset PREFECT_API_URL, or choose a "
            "profile that names no server"
        ) from error
    return cast(Outcome, state.result(raise_on_failure=state.name != "Refused"))
