"""The command `rejects`: what could not be used and why; with `--retry`, those tried again."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import BUILD_CODES, Build, Json, Release, Spec, app

if TYPE_CHECKING:
    from schemas.spec import BuildOverrides, SpaceSpec


@app.command(epilog=BUILD_CODES)
def rejects(
    context: typer.Context,
    spec: Spec,
    release: Release = None,
    build: Build = None,
    source: Annotated[str | None, typer.Option(metavar="NAME", help="This source alone.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="This reason alone; with --retry, try only these.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, max=1000, help="Examples of each reason.")] = 5,
    retry: Annotated[
        bool, typer.Option("--retry", help="Build, and try again what may have healed.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --retry: as the option of `build`.")
    ] = False,
    json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="With --retry: no progress on stderr.")
    ] = False,
) -> None:
    """Show what the latest build could not use, and why; or try it again.

    Every record or item that was left out stands in the table `<space>__rejects` with the stage,
    the reason, what was wrong, where it lies and how often it was tried. Without --release or
    --build: the latest build, published or refused.

    A build remembers what it could not read, decode or embed, and does not try it again while the
    file stays as it is. Where the cause lay elsewhere (a right, a store that stuttered, a library
    since upgraded), --retry is a build that does: it opens those files and embeds those contents
    again, and no others. What heals is published; what stays counts one attempt more.

    \b
    Examples:
      vecmill rejects space.yaml
      vecmill rejects space.yaml --reason corrupt-image --examples 50
      vecmill rejects space.yaml --retry
    """
    from schemas.errors import UsageError
    from schemas.load import load_spec

    loaded = load_spec(spec)
    if source is not None:
        _check_source(loaded, source)
    if not retry:
        _list(loaded, release, build, source, reason, examples, json)
        return
    for option, given in (("--release", release), ("--build", build), ("--source", source)):
        if given is not None:
            raise UsageError(
                f"{option} {given!r}: --retry tries the rejects of the whole space as it is now; "
                f"expected {option} without --retry, or --retry alone"
            )
    code = _retry(spec, loaded, _overrides(reason, yes), examples, json, quiet, context.obj)
    raise typer.Exit(code)


def _list(
    spec: SpaceSpec,
    release: str | None,
    build: str | None,
    source: str | None,
    reason: str | None,
    examples: int,
    json: bool,
) -> None:
    from flows.show_rejects import lost_in_words, print_rejects, reject_document
    from flows.terminal import print_json, say
    from tasks.query.builds import find_build
    from tasks.query.rejects import group_rejects
    from tasks.table.companions import count_rejects, read_rejects
    from tasks.table.dataset import TableRef

    manifest = find_build(spec, release=release, build=build)
    table, build_id = TableRef.of(spec), manifest.build_id
    batches = read_rejects(table, build_id, source=source, reason=reason)
    groups = group_rejects(batches, examples=examples)
    if lost := lost_in_words(manifest, not groups and count_rejects(table, build_id).is_empty()):
        say(lost)
    if json:
        print_json(reject_document(manifest, groups))
        return
    if lost:
        return
    if reason is not None and not groups:
        every = group_rejects(read_rejects(table, build_id, source=source), examples=0)
        known = ", ".join(sorted({group.reason for group in every})) or "none at all"
        say(f"no reject has the reason {reason!r}; the reasons of this build: {known}")
        return
    name = manifest.release or f"build {manifest.build_id}"
    of = f" of source {source}" if source else ""
    say(f"{spec.space} {name}: {sum(group.count for group in groups):,} rejected{of}")
    print_rejects(groups)
    if any(group.retriable for group in groups):
        say("what could not be read, decoded or embedded can be tried again: --retry")


def _retry(
    place: str,
    spec: SpaceSpec,
    overrides: BuildOverrides,
    examples: int,
    json: bool,
    quiet: bool,
    begun: float,
) -> int:
    """Run the build and tell what it healed; returns its exit code."""
    from flows.commands.build import run_build
    from flows.show_rejects import print_retry, retry_document, untried_in_words
    from flows.terminal import print_json, say
    from tasks.query.builds import find_build
    from tasks.query.rejects import group_rejects, healed
    from tasks.table.companions import last_rejects, read_builds, read_rejects
    from tasks.table.dataset import TableRef

    find_build(spec)  # a space that was never built has nothing to try again
    table = TableRef.of(spec)
    before = list(last_rejects(table, overrides.retried))
    with redirect_stdout(sys.stderr):  # whatever a library prints is no answer
        outcome = run_build(place, spec, overrides, quiet, begun)
    build_id = outcome.manifest.build_id
    if not read_builds(table, build_id):  # there was nothing to try: it left no record
        build_id = find_build(spec).build_id
    # A refused build may not have come as far as the stage that rejected, and publishes nothing.
    gone = healed(before, read_rejects(table, build_id)) if outcome.exit_code == 0 else []
    groups = group_rejects(gone, examples=examples)
    stays = group_rejects(read_rejects(table, build_id), examples=examples)
    if json:
        print_json(retry_document(outcome, groups, stays))
        say(outcome.message)
        return outcome.exit_code
    typer.echo(outcome.message, err=outcome.exit_code != 0)
    print_retry(groups, [group for group in stays if group.reason in overrides.retried])
    if untried := untried_in_words(stays):
        say(untried)
    return outcome.exit_code


def _overrides(reason: str | None, yes: bool) -> BuildOverrides:
    from pydantic import ValidationError

    from schemas.errors import UsageError
    from schemas.spec import BuildOverrides

    try:
        return BuildOverrides(yes=yes, retry=True, retry_reason=reason)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, retry_reason ")
        raise UsageError(f"--reason {said}") from error


def _check_source(spec: SpaceSpec, name: str) -> None:
    from schemas.errors import UsageError

    names = [source.name for source in spec.sources]
    if name not in names:
        raise UsageError(f"--source {name!r}: expected one of the spec's: {', '.join(names)}")
