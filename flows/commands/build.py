"""The command `build`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import BUILD_CODES, Json, Spec, app

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from schemas.spec import BuildOverrides, SpaceSpec


@app.command(epilog=BUILD_CODES)
def build(
    context: typer.Context,
    spec: Spec,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and write nothing.")
    ] = False,
    json: Json = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Go on when more than half is to be embedded again."),
    ] = False,
    max_workers: Annotated[
        int | None, typer.Option(min=1, help="Instead of the spec's compute.max_workers.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Bring the space up to date and publish it.

    Reads the sources, validates, embeds what is new, audits the result beside the table and
    publishes it by one commit. A build that an audit refuses leaves every reader where it was. A
    second build embeds only what changed; one without a change writes nothing.

    \b
    Examples:
      vecmill build space.yaml --dry-run
      vecmill build space.yaml --json > manifest.json
    """
    from flows.terminal import print_json, say
    from schemas.load import load_spec
    from schemas.spec import BuildOverrides

    loaded = load_spec(spec)
    overrides = BuildOverrides(yes=yes, dry_run=dry_run, max_workers=max_workers)
    with redirect_stdout(sys.stderr):  # whatever a library prints is no answer
        outcome = run_build(spec, loaded, overrides, quiet, context.obj)
    if json:
        print_json(outcome.manifest.model_dump(mode="json", by_alias=True))
        say(outcome.message)
    else:
        typer.echo(outcome.message, err=outcome.exit_code != 0)
        if outcome.report is not None and outcome.exit_code == 0:
            say(f"report: {outcome.report}")
    raise typer.Exit(outcome.exit_code)


def run_build(
    place: str, spec: SpaceSpec, overrides: BuildOverrides, quiet: bool, begun: float
) -> Outcome:
    """The build as a flow of the configured Prefect server, or plainly where there is none."""
    from flows.progress import StageBars
    from flows.server import configured_server

    if configured_server() is not None and not overrides.dry_run:
        from flows.flow_run import run_flow
        from schemas.places import absolute

        return run_flow(absolute(place, str(Path.cwd())), overrides)
    from flows.compose import build_space
    from flows.runner import PlainRunner

    runner = PlainRunner(StageBars("quiet" if quiet else "auto"))
    return build_space(spec, overrides, runner, begun=begun)
