"""Commands for a newcomer: `demo` and `init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.app import EXIT_CODES, app
from schemas.errors import UsageError

Embedder = Literal["sentence-transformers", "open-clip", "timm"]


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
