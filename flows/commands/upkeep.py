"""The command `maintain`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.app import EXIT_CODES, Json, Spec, app


@app.command(epilog=EXIT_CODES)
def maintain(
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
    json: Json = False,
) -> None:
    """Compact, refresh the indexes, retire old releases, remove what nothing needs.

    Releases that stay: the newest `publish.keep`, the one that readers get, and each that carries
    a tag of your own. Builds and readers may be at work meanwhile. Run it about as often as you
    build as many releases as you keep.

    \b
    Examples:
      vecmill maintain space.yaml
      vecmill maintain space.yaml --keep 3 --workdir-days 1 --json
    """
    from datetime import timedelta

    from flows.show_upkeep import print_upkeep
    from flows.terminal import print_json
    from flows.upkeep import maintain_space
    from schemas.load import load_spec

    report = maintain_space(load_spec(spec), keep, workdir_days, timedelta(minutes=grace))
    if json:
        print_json(report.document())
    else:
        print_upkeep(report)
