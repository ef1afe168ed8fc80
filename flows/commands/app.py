"""The command-line application, and what its commands share: arguments, options, exit codes."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from schemas.errors import UsageError

EXIT_CODES = "Exit codes: 0 done · 2 the command line or the spec is wrong · 1 anything else."

BUILD_CODES = (
    "Exit codes: 0 published, or nothing to do · 3 refused or held, nothing published · 2 the "
    "spec or the command line is wrong · 1 anything else."
)


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
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Release = Annotated[str | None, typer.Option(metavar="NAME", help="The build of a release or tag.")]
Build = Annotated[str | None, typer.Option(metavar="ID", help="A build's id, or its beginning.")]


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
