"""The Prefect flow `maintain`: what `vecmill maintain` does, for a schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, cast

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from pydantic import Field

from flows.build import build, load
from flows.outcome import Outcome
from flows.refit import refit_document
from flows.upkeep import WORKDIR_DAYS, UpkeepReport, maintain_space
from schemas.errors import VecmillError
from schemas.spec import BuildOverrides, SpaceSpec
from tasks.table.cleanup import GRACE


@flow(name="maintain", validate_parameters=True)
def maintain(
    spec: str | SpaceSpec,
    keep: Annotated[int, Field(ge=1)] | None = None,
    workdir_days: Annotated[float, Field(ge=0)] = WORKDIR_DAYS,
    grace_minutes: Annotated[float, Field(ge=0)] = GRACE / timedelta(minutes=1),
    refit: bool = False,
) -> dict[str, object]:
    """Compact a space, refresh its indexes, retire old releases, remove what nothing needs.

    Args:
        spec: Path or URI of the space's YAML file, or the same model inline.
        keep: Releases that stay; null: the spec's `publish.keep`.
        workdir_days: Files of the workdir that were not used for so many days go.
        grace_minutes: Minutes for which readers keep the files of what a tag has just left.
        refit: First make clusters and map anew, as a release of its own; where that is refused the
            run fails.
    """
    fitted = _refit(spec) if refit else None
    grace = timedelta(minutes=grace_minutes)
    report = maintain_space(load(spec), keep, workdir_days, grace)
    for line in report.left:
        get_run_logger().warning("left undone: %s", line)
    _leave_sizes(report)
    said = report.document()
    return said if fitted is None else {**said, "refit": refit_document(fitted)}


def _refit(spec: str | SpaceSpec) -> Outcome:
    """The outcome of a run of `build` below this one; `VecmillError` where that was refused."""
    run = cast(Any, build)  # Prefect's own types do not know that a flow may return a state
    state = run(spec, BuildOverrides(refit=True), return_state=True)
    outcome = cast(Outcome, state.result(raise_on_failure=state.name != "Refused"))
    if outcome.exit_code:
        raise VecmillError(outcome.message)
    return outcome


def _leave_sizes(report: UpkeepReport) -> None:
    """Bytes before and after as an artifact of the run."""
    sizes = report.document()["bytes"]
    rows = [
        f"| {name} | {sizes['before'][name]} | {sizes['after'][name]} |"
        for name in ("table", "companions", "workdir")
    ]
    lines = ["| bytes | before | after |", "|---|---|---|", *rows]
    create_markdown_artifact("\n".join(lines), key=f"{report.space.replace('_', '-')}-upkeep")
