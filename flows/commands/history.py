"""Commands on the history of a space: `versions`."""

from __future__ import annotations

from flows.commands.app import EXIT_CODES, Json, Spec, app


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
