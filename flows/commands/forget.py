"""The command that erases: `forget`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from flows.commands.app import Json, Spec, app

FORGET_CODES = (
    "Exit codes: 0 forgotten and proved · 3 nothing written: --yes is missing, or a tag of yours "
    "holds a release · 2 the command line or the spec is wrong, or there is no release yet · 1 "
    "anything else, above all when something is still on disk."
)


@app.command(epilog=FORGET_CODES)
def forget(
    spec: Spec,
    key: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A record's key; may be repeated.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only keys of this source; default: of every source."),
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="An item's id: its whole record goes."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Every record with a row that meets this.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Kept with the tombstone; must not name the key.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; without it, only say.")] = False,
    json: Json = False,
) -> None:
    """Erase whole records: rows, staged files, rejects, reports and old releases.

    Without --yes it says what would go and writes nothing. With it, the rows leave the table by a
    new release, every release that held them is retired, files that held them are written anew or
    removed, indexes are built again, and what is left on disk is read and searched: if anything of
    the records is found, the exit code is 1 and the file is named. It cannot be undone.

    A tombstone, the hash of source and key, keeps later builds from bringing the records back: a
    source that still holds one yields a reject `forgotten`. Your sources are yours: take it out
    there, too. Killed in the middle, the same command finishes it.

    \b
    Examples:
      vecmill forget space.yaml --key user-1042
      vecmill forget space.yaml --key user-1042 --source tickets --reason "ticket 88" --yes
      vecmill forget space.yaml --where "owner = 'alice'" --yes --json
    """
    from flows.forget import forget_records
    from flows.holds import this_person
    from flows.show_forget import print_found
    from flows.terminal import print_json
    from schemas.load import load_spec
    from tasks.erase.asked import Request

    asked = Request(tuple(key or ()), tuple(source or ()), tuple(item or ()), where, reason)
    with redirect_stdout(sys.stderr):
        outcome = forget_records(load_spec(spec), asked, yes=yes, who=this_person())
    if json:
        print_json(outcome.document)
    else:
        print_found(outcome.found)
    typer.echo(outcome.message, err=json or outcome.exit_code != 0)
    raise typer.Exit(outcome.exit_code)
