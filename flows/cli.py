"""The command line: `vecmill COMMAND`. Each command is a few calls to what is imported late.

A command that does not build imports neither Prefect nor torch (but `search`, which embeds), so
that `--help`, `versions` and `rejects` answer at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from flows.complaints import interrupted, known, unexpected
from schemas.errors import UsageError, VecmillError

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from schemas.spec import BuildOverrides, SpaceSpec

EXIT_CODES = "Exit codes: 0 done · 2 the command line or the spec is wrong · 1 anything else."

BUILD_CODES = (
    "Exit codes: 0 published, or nothing to do · 3 refused or held, nothing published · 2 the "
    "spec or the command line is wrong · 1 anything else."
)

INTERRUPTED = 130
"""What typer makes of Ctrl-C; here it is 1 and a message."""

LOADED = time.perf_counter()
"""When the process had read this file: what it imports from here on is start up of a build."""


class Commands(TyperGroup):
    """The commands in the order in which a newcomer meets them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """As written below, not by the alphabet."""
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """An unknown command is a usage error that suggests the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            close = get_close_matches(args[0], self.commands, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'?" if close else "see `vecmill --help`"
            raise UsageError(
                f"no command '{args[0]}' ({hint}); commands are {', '.join(self.commands)}"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    name="vecmill",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="The space's YAML file, or its URI.")]
Mode = Literal["vector", "text", "hybrid"]
Embedder = Literal["sentence-transformers", "open-clip", "timm"]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vecmill {version('vecmill')}")
        raise typer.Exit


@app.callback()
def vecmill(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Corpora and image sets into versioned, audited vector tables.

    \b
    vecmill demo                          see it work on this machine
    vecmill init docs/ && vecmill build space.yaml
    vecmill search space.yaml "how do I undo a release?"
    """
    if debug:
        os.environ["VECMILL_DEBUG"] = "1"


@app.command(epilog=EXIT_CODES)
def demo(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where its files and tables go.")
    ] = Path("vecmill-demo"),
) -> None:
    """Build two real spaces on this machine, offline, and search them.

    The documentation of the installed Python packages, and rendered pictures with a small CLIP:
    some files are corrupt, some are copies. Then a change of one percent, and a build that a gate
    refuses. About three minutes on two cores.

    \b
    Example:
      vecmill demo --dir /tmp/demo
    """
    from flows.demo.demo import run_demo

    run_demo(folder)


@app.command(epilog=EXIT_CODES)
def init(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files and folders to embed.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The spec to write.")
    ] = Path("space.yaml"),
    space: Annotated[
        str | None, typer.Option(help="The space's name; guessed if left out.")
    ] = None,
    kind: Annotated[
        Embedder | None, typer.Option("--embedder", help="The library that loads the model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Hub id or folder of the model.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented spec for the files it is pointed at.

    Looks at names, and at the first rows of tables, and guesses the key, the columns to embed and
    those to carry, and an embedder. `vecmill build` takes the file as it is; every guess is
    explained in it.

    \b
    Examples:
      vecmill init articles.parquet
      vecmill init docs/ photos/ --out handbook.yaml
    """
    from tasks.query.first_look import look_at
    from tasks.query.space_yaml import space_yaml

    if out.exists() and not force:
        raise UsageError(f"'{out}' exists already; give another name with --out, or --force")
    found = look_at(paths)
    text = space_yaml(found, out.parent, space=space, embedder=kind, model=model)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    from flows.terminal import say

    for look in found.sources:
        say(f"{look.name}: {look.kind}, {look.files:,} × {look.ending} at {look.path}")
        for note in look.notes:
            say(f"  {note}")
    for each in found.left:
        say(f"not taken: {each}")
    typer.echo(out)
    say(f"Read it, then: vecmill build {out}")


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
        outcome = _run_build(spec, loaded, overrides, quiet, context.obj)
    if json:
        print_json(outcome.manifest.model_dump(mode="json", by_alias=True))
        say(outcome.message)
    else:
        typer.echo(outcome.message, err=outcome.exit_code != 0)
        if outcome.report is not None and outcome.exit_code == 0:
            say(f"report: {outcome.report}")
    raise typer.Exit(outcome.exit_code)


def _run_build(
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


@app.command(epilog=EXIT_CODES)
def search(
    spec: Spec,
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="What to look for.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=10_000, help="How many hits.")] = 10,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="A condition on the table's columns.")
    ] = None,
    release: Annotated[
        str | None, typer.Option(metavar="NAME", help="A release or tag; default: the spec's tag.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="By meaning, by words, or both fused.")] = "vector",
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Search by a picture instead of words.")
    ] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Leave out marked duplicates.")] = False,
    json: Json = False,
) -> None:
    """Search a release: by meaning, by words, or by both.

    The query is embedded by the space's own embedder; a release that another one made is not
    searched by vector. The score is the cosine (vector), BM25 (text) or the fused rank (hybrid).

    \b
    Examples:
      vecmill search space.yaml "undo a release" -k 5 --kept
      vecmill search space.yaml "restore" --mode text --where "source = 'docs'"
      vecmill search photos.yaml --image cat.jpg
    """
    from flows.terminal import hit_documents, print_hits, print_json, say
    from schemas.load import load_spec
    from tasks.query.search import Question
    from tasks.query.search import search as find

    question = Question(query, image, k, mode, where, kept)
    with redirect_stdout(sys.stderr):
        found = find(load_spec(spec), question, release)
    hits = hit_documents(found.hits)
    if json:
        manifest = found.release.manifest
        print_json(
            {"space": manifest.space, "release": found.release.name, "mode": mode, "hits": hits}
        )
    elif hits:
        print_hits(hits)
    else:
        say(f"no hit in {found.release.name}")


@app.command(epilog=EXIT_CODES)
def versions(spec: Spec, json: Json = False) -> None:
    """List the releases of a space, the newest first.

    A release is a published version with a tag of its own; `prod` names the one that readers get.
    With --json the oldest comes first, each with its whole manifest.

    \b
    Example:
      vecmill versions space.yaml
    """
    from flows.terminal import print_json, print_releases, release_documents, say
    from schemas.load import load_spec
    from tasks.table.dataset import TableRef
    from tasks.table.releases import list_releases

    loaded = load_spec(spec)
    releases = list_releases(TableRef.of(loaded))
    if json:
        print_json({"space": loaded.space, "releases": release_documents(releases)})
    elif releases:
        print_releases(releases)
    else:
        say(f"space {loaded.space!r} at {loaded.uri} has no release yet; run `vecmill build`")


Release = Annotated[str | None, typer.Option(metavar="NAME", help="The build of a release or tag.")]
Build = Annotated[str | None, typer.Option(metavar="ID", help="A build's id, or its beginning.")]


@app.command(epilog=EXIT_CODES)
def rejects(
    spec: Spec,
    release: Release = None,
    build: Build = None,
    reason: Annotated[str | None, typer.Option(help="This reason alone.")] = None,
    examples: Annotated[int, typer.Option(min=0, max=1000, help="Examples of each reason.")] = 5,
    json: Json = False,
) -> None:
    """Show what the latest build could not use, and why.

    Every record or item that was left out stands in the table `<space>__rejects` with the stage,
    the reason, what was wrong and where it lies. Without --release or --build: the latest build,
    published or refused.

    \b
    Examples:
      vecmill rejects space.yaml
      vecmill rejects space.yaml --reason corrupt-image --examples 50
    """
    from flows.terminal import print_json, print_rejects, reject_document, say
    from schemas.load import load_spec
    from tasks.query.builds import find_build, stored_rejects
    from tasks.query.rejects import group_rejects

    loaded = load_spec(spec)
    manifest = find_build(loaded, release=release, build=build)
    batches = stored_rejects(loaded, manifest.build_id, reason)
    groups = group_rejects(batches, examples=examples)
    if json:
        print_json(reject_document(manifest, groups))
        return
    if reason is not None and not groups:
        every = group_rejects(stored_rejects(loaded, manifest.build_id), examples=0)
        known = ", ".join(sorted({group.reason for group in every})) or "none at all"
        say(f"no reject has the reason {reason!r}; the reasons of this build: {known}")
        return
    name = manifest.release or f"build {manifest.build_id}"
    say(f"{loaded.space} {name}: {sum(group.count for group in groups):,} rejected")
    print_rejects(groups)


@app.command(epilog=EXIT_CODES)
def report(
    spec: Spec,
    release: Release = None,
    build: Build = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the HTML report of a release or a build.

    Prints its path. One page without network: the way from records to rows, rejects with
    examples, duplicates, norms, a picture of the space, timings. Default: the release that the
    spec's tag names. The rows of a refused build are gone, so its report is the one that the
    build wrote.

    \b
    Examples:
      vecmill report space.yaml --open
      vecmill report space.yaml --build 9f31
    """
    from flows.reporting import report_of
    from schemas.load import load_spec

    path = report_of(load_spec(spec), release=release, build=build)
    typer.echo(path)
    if show:
        import webbrowser

        webbrowser.open(path.as_uri())


def run(arguments: Sequence[str], begun: float | None = None) -> int:
    """Run one command and return its exit code; what went wrong is one message on stderr.

    `begun` is `time.perf_counter()` when the command began; null: now.
    """
    command = typer.main.get_command(app)
    words = list(arguments)
    try:
        code = command.main(
            words,
            prog_name="vecmill",
            standalone_mode=False,
            obj=time.perf_counter() if begun is None else begun,
        )
    except VecmillError as error:
        return known(error)
    except (typer.Abort, KeyboardInterrupt):
        return interrupted()
    except BrokenPipeError:
        # The reader of stdout has gone (`| head`): nothing is wrong, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last place where an error can be explained
        return unexpected(error)
    if code == INTERRUPTED:
        return interrupted()
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """The console script `vecmill`."""
    sys.exit(run(sys.argv[1:], begun=LOADED))


if __name__ == "__main__":
    main()
