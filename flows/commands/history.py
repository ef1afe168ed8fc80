"""Commands on the history: `versions`, `diff`, `audit`, `rollback`, holds and `accept`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.app import EXIT_CODES, Json, Spec, app

AUDIT_CODES = (
    "Exit codes: 0 every gate passes or warns · 3 one that refuses fails · 2 the command line or "
    "the spec is wrong · 1 anything else."
)

Who = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who decided it; default: user@host.")
]


@app.command(epilog=EXIT_CODES)
def versions(spec: Spec, json: Json = False) -> None:
    """List the releases of a space, the newest first.

    A release is a published version with a tag of its own; `prod` names the one that readers get.
    Says which one is a rollback, and who holds the space. With --json the oldest comes first,
    each with its whole manifest.

    \b
    Example:
      vecmill versions space.yaml
    """
    from flows.show_history import hold_document, hold_in_words
    from flows.terminal import print_json, print_releases, release_documents, say
    from schemas.load import load_spec
    from tasks.table.companions import current_hold
    from tasks.table.dataset import TableRef
    from tasks.table.releases import list_releases

    loaded = load_spec(spec)
    releases = list_releases(TableRef.of(loaded))
    hold = current_hold(TableRef.of(loaded))
    if json:
        documents = release_documents(releases)
        print_json({"space": loaded.space, "releases": documents, "hold": hold_document(hold)})
        return
    if releases:
        print_releases(releases)
    else:
        say(f"space {loaded.space!r} at {loaded.uri} has no release yet; run `vecmill build`")
    if hold is not None:
        typer.echo(hold_in_words(loaded.space, hold))


@app.command(epilog=EXIT_CODES)
def diff(
    spec: Spec,
    before: Annotated[
        str | None, typer.Argument(metavar="A", help="A release or tag; default: the one before B.")
    ] = None,
    after: Annotated[
        str | None, typer.Argument(metavar="B", help="A release or tag; default: the spec's tag.")
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Rows shown of each class.")
    ] = 3,
    json: Json = False,
) -> None:
    """Show what changed from release A to release B.

    Rows are compared by id and hashes: added, removed, changed (another content), metadata-only
    (the same content, other columns), rejudged (another verdict on duplicates), moved (another
    cluster), unchanged; each row counts once, in the first that fits. Columns that came, went or
    have another type are named.

    \b
    Examples:
      vecmill diff space.yaml
      vecmill diff space.yaml v0003 v0007 --examples 10
    """
    from flows.show_history import diff_document, print_diff
    from flows.terminal import print_json
    from schemas.load import load_spec
    from tasks.query.diff import diff_releases

    found = diff_releases(load_spec(spec), before, after, examples)
    if json:
        print_json(diff_document(found))
    else:
        print_diff(found)


@app.command(epilog=AUDIT_CODES)
def audit(
    spec: Spec,
    release: Annotated[
        str | None, typer.Option(metavar="NAME", help="A release or tag; default: the spec's tag.")
    ] = None,
    json: Json = False,
) -> None:
    """Audit a release again, over all of its rows; nothing is written.

    Reads every column of every file, so that damaged and missing files are found and named; hashes
    every text and row again; compares rows and duplicates with the manifest; and runs the gates of
    a build: ids unique, width, finite, zero vectors, norm, collapse.

    \b
    Examples:
      vecmill audit space.yaml
      vecmill audit space.yaml --release v0003 --json
    """
    from flows.auditing import audit_space
    from flows.show_history import audit_document, print_audits
    from flows.terminal import print_json
    from schemas.load import load_spec

    found, verdicts = audit_space(load_spec(spec), release)
    if json:
        print_json(audit_document(found, verdicts))
    else:
        print_audits(found, verdicts)
    raise typer.Exit(3 if any(verdict.refuses for verdict in verdicts) else 0)


@app.command(epilog=EXIT_CODES)
def rollback(
    spec: Spec,
    to: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A release or tag; default: the release before."),
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
    who: Who = None,
    json: Json = False,
) -> None:
    """Publish the content of an earlier release again, as a new release, and hold the space.

    Readers of `prod` have the old content at once; nothing is embedded, and the release that was
    left stays in the history. The hold keeps the next scheduled build from bringing back what was
    left: it stages, reports and exits 3 until `vecmill release-hold`. Going back to what stands
    already writes nothing. --json prints the manifest.

    \b
    Examples:
      vecmill rollback space.yaml --reason "half the pages are empty"
      vecmill rollback space.yaml --to v0003
    """
    from flows.holds import this_person
    from flows.rollback import roll_back
    from flows.terminal import print_json, say
    from schemas.load import load_spec

    outcome = roll_back(load_spec(spec), to, reason, who or this_person())
    if json:
        print_json(outcome.manifest.model_dump(mode="json", by_alias=True))
        say(outcome.message)
    else:
        typer.echo(outcome.message)


@app.command(epilog=EXIT_CODES)
def hold(
    spec: Spec,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; builds will say so.")],
    who: Who = None,
    json: Json = False,
) -> None:
    """Keep builds from publishing: they stage, report and exit 3.

    A build without change still exits 0. A space that is held already stays held by whom it was;
    the command then says who that is, and changes nothing.

    \b
    Example:
      vecmill hold space.yaml --reason "the source is being moved"
    """
    from flows.holds import hold_space, this_person
    from flows.show_history import hold_document, hold_in_words
    from flows.terminal import print_json
    from schemas.load import load_spec

    loaded = load_spec(spec)
    found, new = hold_space(loaded, reason, who or this_person())
    if json:
        print_json({"space": loaded.space, "hold": hold_document(found)})
    else:
        already = "" if new else "nothing was changed: "
        typer.echo(already + hold_in_words(loaded.space, found))


@app.command("release-hold", epilog=EXIT_CODES)
def release_hold(
    spec: Spec,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
    who: Who = None,
    json: Json = False,
) -> None:
    """Let builds publish again, after a hold or a rollback.

    The next build brings the sources' state back. A space that is not held is a mistake in the
    command line (exit 2).

    \b
    Example:
      vecmill release-hold space.yaml --reason "the pages are back"
    """
    from flows.holds import release_space, this_person
    from flows.terminal import print_json
    from schemas.load import load_spec

    loaded = load_spec(spec)
    was = release_space(loaded, reason, who or this_person())
    if json:
        print_json({"space": loaded.space, "hold": None})
    else:
        typer.echo(
            f"{loaded.space!r} is held no more (it was: {was.reason}); the next build publishes"
        )


@app.command(epilog=EXIT_CODES)
def accept(
    spec: Spec,
    build: Annotated[
        str, typer.Argument(metavar="BUILD", help="A refused build's id, or its beginning.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; manifests will say so.")],
    who: Who = None,
    json: Json = False,
) -> None:
    """Waive the gates that refused a build, for exactly its input; the next build publishes.

    Who and why are recorded, and stand in the manifest beside what the gates found. Another input
    is judged as ever. A hold, a missing --yes and a source that fails are no verdicts on an input;
    vectors that are not finite, wrong widths and counts that do not add up cannot be accepted.

    \b
    Example:
      vecmill accept space.yaml 9f31 --reason "the archive was closed on purpose"
    """
    from flows.holds import this_person
    from flows.terminal import print_json
    from flows.waivers import accept_build
    from schemas.load import load_spec

    loaded = load_spec(spec)
    waiver, new = accept_build(loaded, build, reason, who or this_person())
    gates = ", ".join(waiver.gates)
    if json:
        print_json({"space": loaded.space, "new": new, **vars(waiver)})
    elif new:
        typer.echo(f"accepted for this input of {loaded.space!r}: {gates}; now `vecmill build`")
    else:
        typer.echo(
            f"{gates}: accepted already by {waiver.who} ({waiver.reason}); nothing was written"
        )
