"""The command `maintain`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from flows.commands.app import EXIT_CODES, Json, Spec, app
from flows.commands.build import run_build


@app.command(epilog=EXIT_CODES)
def maintain(
    context: typer.Context,
    spec: Spec,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Releases that stay; default: the spec's.")
    ] = None,
    workdir_days: Annotated[
        float, typer.Option(min=0, help="Files of the workdir not used for so many days go.")
    ] = 7.0,
    grace: Annotated[
        float, typer.Option(min=0, help="Minutes for which readers keep what a tag just left.")
    ] = 10.0,
    refit: Annotated[
        bool, typer.Option("--refit", help="First make clusters and map anew, as a release.")
    ] = False,
    json: Json = False,
) -> None:
    """Compact, refresh the indexes, retire old releases, remove what nothing needs.

    Releases that stay: the newest `publish.keep`, the one that readers get, and each that carries
    a tag of your own. Builds and readers may be at work meanwhile. Run it about as often as you
    build as many releases as you keep.

    Clusters and map stay as they were fitted with the first build, until `--refit` makes them anew
    from the rows of today: a release of its own, which keeps the ids of clusters that are still
    there and says what moved. What the gates or a hold refuse of it ends the upkeep (exit code 3).

    \b
    Examples:
      vecmill maintain space.yaml
      vecmill maintain space.yaml --refit
      vecmill maintain space.yaml --keep 3 --workdir-days 1 --json
    """
    from datetime import timedelta

    from flows.refit import refit_document
    from flows.show_upkeep import print_upkeep
    from flows.terminal import print_json, say
    from flows.upkeep import maintain_space
    from schemas.load import load_spec
    from schemas.spec import BuildOverrides

    loaded, fitted = load_spec(spec), None
    if refit:
        with redirect_stdout(sys.stderr):  # whatever a library prints is no answer
            fitted = run_build(spec, loaded, BuildOverrides(refit=True), False, context.obj)
        say(fitted.message)
        if fitted.exit_code:
            raise typer.Exit(fitted.exit_code)
    report = maintain_space(loaded, keep, workdir_days, timedelta(minutes=grace))
    if json:
        said = report.document()
        print_json(said if fitted is None else {**said, "refit": refit_document(fitted)})
    else:
        print_upkeep(report)
