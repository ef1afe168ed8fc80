"""Commands that read what is published or was recorded: `search`, `report`, `explore`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.app import EXIT_CODES, Build, Json, Release, Spec, app

Mode = Literal["vector", "text", "hybrid"]
Kind = Literal["text", "image"]


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
def report(
    spec: Spec,
    release: Release = None,
    build: Build = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the HTML report of a release or a build.

    Prints its path. One page without network: the way from records to rows, rejects with
    examples, duplicates, norms, a map of the space with its clusters, timings. Default: the
    release that the spec's tag names. The rows of a refused build are gone, so its report is the
    one that the build wrote.

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


@app.command(epilog=EXIT_CODES)
def explore(
    spec: Spec,
    release: Annotated[
        str | None, typer.Option(metavar="NAME", help="A release or tag; default: the spec's tag.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Of a space of both; default: the one with more rows.")
    ] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Leave out marked duplicates.")] = False,
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Where it answers; the next free one if taken.")
    ] = 5055,
) -> None:
    """Open the map of a release in Embedding Atlas, in the browser.

    Rows, without their vectors, are copied into a private folder, and the program
    `embedding-atlas` (install it with `uv tool install embedding-atlas`) is started on them, on
    this machine alone. It draws the map that the build made, and computes none of its own. Ctrl-C
    ends it; the copy is removed then. The map needs a browser with WebGPU.

    \b
    Examples:
      vecmill explore space.yaml
      vecmill explore space.yaml --release v0003 --kept
    """
    from flows.explore import explore_space
    from flows.terminal import say
    from schemas.load import load_spec

    explore_space(load_spec(spec), release, kind, kept=kept, port=port, say=say)
