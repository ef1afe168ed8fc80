"""`vecmill demo`: the whole way on this machine, in steps that explain themselves.

    sources → two builds → searches → rejects → a change of 1 % → a refused build → what now

Everything goes through the functions that `vecmill build` and `vecmill search` call. A second run
in the same folder finds its sources and releases, and goes on from there.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from flows.demo.specs import minilm_folder
from schemas.errors import VecmillError
from schemas.spec import SpaceSpec

if TYPE_CHECKING:
    from flows.demo.change import Change
    from flows.demo.material import Material, Size
    from flows.demo.show import Story
    from flows.outcome import Outcome
    from flows.progress import StageBars

QUESTIONS = (
    ("read a CSV file into a data frame", ""),
    ("measure how long a piece of code takes", ""),
    ("how similar are two sets of vectors", ""),
    ("turn JSON text into Python objects", ""),
    ("group similar points into clusters", "package = 'sklearn'"),
)
"""Asked of python_docs: words, and a condition on the table's columns."""

PICTURE_QUESTIONS = (
    "a big purple ring",
    "a small green heart at the bottom left on black",
    "a big purple circle above a small yellow star on black",
)
"""Asked of scenes: a part of what a picture shows, and all of it."""

TEXT_HITS = 3
PICTURE_HITS = 5

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DO_NOT_TRACK": "1",
}
"""Set before the model libraries are imported: no network, no bars, no advice on stderr."""


def run_demo(folder: Path, console: Console | None = None, size: Size | None = None) -> None:
    """Build, search, change, refuse: into `folder`, told on `console` (default: stdout).

    Raises `MissingExtraError` where the package with the text model is not installed, and
    `UsageError` for a folder that holds other things.
    """
    minilm_folder()
    with _quiet():
        from flows.demo.show import Story
        from flows.progress import StageBars

        story = Story(console or Console(highlight=False))
        _tell(story, StageBars(), folder, size)


def _tell(story: Story, bars: StageBars, folder: Path, size: Size | None) -> None:
    started = time.perf_counter()
    story.say(
        "[bold]vecmill[/] turns documents and pictures into versioned, audited vector tables. "
        f"Everything here happens on this machine, without network, in the folder {folder}: about "
        "three minutes on two cores, most of them for the embedding of texts."
    )
    material = _make_sources(story, folder, size)
    _build_both(story, bars, material)
    _search_docs(story, material)
    _search_scenes(story, material)
    _show_rejects(story, material)
    _change(story, bars, material)
    _refuse(story, bars, material)
    _point_on(story, material, time.perf_counter() - started)


def _make_sources(story: Story, folder: Path, size: Size | None) -> Material:
    from flows.demo.material import Size, prepare

    story.step("Sources: texts and pictures")
    started = time.perf_counter()
    material = prepare(folder, size or Size())
    docs, scenes = material.docs, material.scenes
    if material.again:
        story.say("This folder holds an earlier demo: its sources and tables are used again.")
    else:
        story.say(f"Made in {time.perf_counter() - started:.0f} seconds:")
    story.say(
        f" • {docs.records:,} docstrings of the Python packages installed here, and {docs.faults} "
        "broken lines planted among them\n"
        f" • {len(scenes.planted('scene')):,} rendered pictures of coloured shapes, and planted "
        f"among them {len(scenes.planted('exact-copy'))} exact copies, "
        f"{len(scenes.planted('resized-copy'))} resized copies and "
        f"{len(scenes.planted('fault'))} files that are no usable picture\n"
        "Two YAML files describe the two tables: python_docs.yaml and scenes.yaml."
    )
    return material


def _build_both(story: Story, bars: StageBars, material: Material) -> None:
    from flows.demo.copies import copies_found
    from tasks.table.clusters import clusters_for
    from tasks.table.dataset import TableRef

    story.step("Two builds: vecmill build python_docs.yaml, vecmill build scenes.yaml")
    story.say(
        "A build reads, checks, cuts into chunks and embeds; it stages the rows beside the table, "
        "audits them there, and publishes them in one commit."
    )
    specs = (material.docs_spec, material.scenes_spec)
    docs, scenes = (_build(spec, bars).manifest for spec in specs)
    story.builds([docs, scenes])
    if not docs.published and not scenes.published:
        story.say("Nothing had changed since the last release: nothing was embedded or written.")
    found = copies_found(material.scenes, material.scenes_spec)
    (same, of_same), (alike, of_alike) = found["exact-copy"], found["resized-copy"]
    story.say(
        f"Of the {of_same} exact copies {same} are marked, of the {of_alike} resized ones {alike}: "
        "they stay in the table, and a search can leave them out."
    )
    story.say("What the docstrings are about, by their largest clusters:")
    story.clusters(clusters_for(TableRef.of(material.docs_spec), docs))


def _build(spec: SpaceSpec, bars: StageBars) -> Outcome:
    """The build of `vecmill build`; one that is refused here is a fault of the demo's folder."""
    from flows.compose import build_space
    from flows.runner import PlainRunner

    outcome = build_space(spec, runner=PlainRunner(bars))
    if outcome.exit_code:
        raise VecmillError(f"the demo's build of {spec.space!r}: {outcome.message}")
    return outcome


def _search_docs(story: Story, material: Material) -> None:
    from tasks.query.search import Question, search

    story.step("Five questions to the docstrings: vecmill search python_docs.yaml QUERY")
    story.say("By meaning, not by words; a condition on the table's columns narrows a search.")
    for query, where in QUESTIONS:
        question = Question(query, k=TEXT_HITS, where=where or None, kept=True)
        found = search(material.docs_spec, question)
        rows = found.hits.select(["name", "text"]).to_pylist()
        # Of a text its first paragraph says what it is about.
        hits = [(row["name"], row["text"].strip().split("\n\n")[0]) for row in rows]
        story.hits(query, found, hits, where)


def _search_scenes(story: Story, material: Material) -> None:
    from flows.demo.scene_folder import read_scenes
    from flows.demo.show import draw_sheet
    from tasks.query.search import Question, search

    story.step("Words find pictures: vecmill search scenes.yaml QUERY")
    story.say(
        "The pictures carry no text: words and pictures meet in the vectors of a small CLIP. Below "
        "each hit stands what was drawn, which the search does not know."
    )
    scenes = read_scenes(material.scenes.folder)
    sheet = []
    for query in PICTURE_QUESTIONS:
        found = search(material.scenes_spec, Question(query, k=PICTURE_HITS, kept=True))
        keys = found.hits.column("key").to_pylist()
        story.hits(query, found, [(key, scenes.caption(key)) for key in keys], "")
        sheet.append((query, [scenes.pictures / key for key in keys]))
    path = material.folder / "scenes_found.png"
    draw_sheet(sheet, path)
    story.lines("", f"To look at what was found: {path}")


def _show_rejects(story: Story, material: Material) -> None:
    from tasks.query.builds import find_build
    from tasks.query.rejects import group_rejects
    from tasks.table.companions import read_rejects
    from tasks.table.dataset import TableRef

    story.step("What was rejected, and why: vecmill rejects SPEC")
    story.say(
        "Nothing is dropped in silence: every record is used, or rejected with a reason. All of "
        "these faults were planted by the demo."
    )
    for spec in (material.docs_spec, material.scenes_spec):
        build = find_build(spec)
        counts = build.counts
        story.say(
            f"\n[bold]{spec.space}[/]: {counts.records:,} records = {counts.records_used:,} used "
            f"+ {counts.records_rejected:,} rejected"
        )
        story.rejects(group_rejects(read_rejects(TableRef.of(spec), build.build_id), examples=1))


def _change(story: Story, bars: StageBars, material: Material) -> None:
    from tasks.query.releases import find_release

    story.step("A change of one percent, and the second builds")
    changes = {"python_docs": material.change_docs(), "scenes": material.change_scenes()}
    rows = []
    for spec in (material.docs_spec, material.scenes_spec):
        change = changes[spec.space]
        first = find_release(spec, "v0001").manifest
        second = _build(spec, bars).manifest
        for manifest, what in ((first, "everything"), (second, _words(change))):
            counts = manifest.counts
            rows.append(
                (
                    *(spec.space, manifest.release, what, counts.rows, counts.embedded),
                    f"{manifest.timings.total:.1f}",
                )
            )
    heads = ["space", "release", "what changed", "rows", "embedded", "seconds"]
    story.table(heads, rows, right=heads[3:])
    story.say(
        "Only contents without a vector are embedded, unchanged rows are not touched, removed "
        "records leave the table. Older releases stay readable: see vecmill versions SPEC."
    )


def _words(change: Change) -> str:
    return f"{change.edited} edited, {change.added} new, {change.removed} gone"


def _refuse(story: Story, bars: StageBars, material: Material) -> None:
    from flows.demo.fault import SPOILT, build_with_fault
    from flows.outcome import REFUSED

    spec = material.scenes_spec
    story.step("A bad build is refused, and readers never see it")
    change = material.change_scenes()
    story.say(
        f"The pictures change once more ({_words(change)}). This time the demo plants a fault: "
        f"of the vectors that the embedder makes {SPOILT} become NaN before they are staged."
    )
    before = _state(spec)
    outcome = build_with_fault(spec, material.folder / ".vecmill-fault", bars)
    story.say(f"\n[red]exit code {outcome.exit_code}[/]: {escape(outcome.message)}\n")
    after = _state(spec)
    story.table(
        ["scenes", "before", "after"],
        [(name, before[name], after[name]) for name in before],
        right=["before", "after"],
    )
    if outcome.exit_code != REFUSED or before != after:
        raise VecmillError("the demo's faulty build was not refused as it should have been")
    story.say("Nothing moved. The refused build is recorded, and has a report too:")
    story.lines(f"  {outcome.report}")
    mended = _build(spec, bars)
    story.say(f"With the fault taken out again the same build passes: {escape(mended.message)}.")


def _state(spec: SpaceSpec) -> dict[str, str]:
    """What a reader sees of a table: the tag, main, and the content behind the tag."""
    from tasks.query.releases import find_release
    from tasks.table.dataset import TableRef, open_version, try_open
    from tasks.table.releases import list_releases

    ref = TableRef.of(spec)
    release, main = find_release(spec), try_open(ref)
    prod = open_version(ref, release.version)
    return {
        "prod": f"{release.name} (version {release.version})",
        "rows behind prod": f"{prod.count_rows():,}",
        "latest version of main": str(main.version) if main else "",
        "releases": str(len(list_releases(ref))),
    }


def _point_on(story: Story, material: Material, seconds: float) -> None:
    from flows.reporting import report_of
    from flows.stage_rate import duration

    docs, scenes = material.docs_spec, material.scenes_spec
    story.step("What you have now")
    story.say("Each build wrote a report, one HTML page that needs no network. Of the latest:")
    story.lines(*(f"  {report_of(spec)}" for spec in (docs, scenes)), "")
    story.say("Any program reads the tables with lancedb alone:")
    story.lines(
        f'  table = lancedb.connect("{docs.uri}").open_table("python_docs")',
        '  table.checkout("prod")',
        '  table.search(vector).distance_type("cosine").where("duplicate_of IS NULL").limit(5)',
        "",
    )
    story.say("Go on with")
    story.lines(
        f'  vecmill search {material.folder / "python_docs.yaml"} "sort a list"',
        f"  vecmill versions {material.folder / 'scenes.yaml'}",
        "  vecmill init YOUR-FILES",
        "",
        f"The demo took {duration(seconds)}.",
    )


@contextmanager
def _quiet() -> Generator[None]:
    """Libraries stay silent and offline while the block runs; errors are still raised."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(OFFLINE)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # open_clip reports its work on the root logger
    try:
        yield
    finally:
        root.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
