"""What the demo prints: headings, short sentences, tables; and one picture of what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from schemas.manifest import Manifest
from tasks.query.rejects import RejectGroup
from tasks.query.search import SCORE, Found
from tasks.query.snippet import one_line
from tasks.table.clusters import ClusterRecord

CELL = 150
"""Pixels a side of one found picture on the sheet."""

CLUSTERS = 8
"""Clusters shown, the largest first."""


class Story:
    """The demo's voice on a console: numbered steps."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._step = 0

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self.console.print()
        self.console.rule(f"[bold]{self._step}  {escape(title)}", align="left", style="dim")

    def say(self, text: str) -> None:
        """Some sentences, wrapped; `[bold]…[/]` and the like are rich's."""
        self.console.print(text)

    def lines(self, *lines: str) -> None:
        """Lines to copy, commands and paths: printed as they are, never wrapped."""
        for line in lines:
            self.console.print(line, markup=False, soft_wrap=True)

    def table(
        self, heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
    ) -> None:
        """A table; the columns in `right` are numbers."""
        table = Table(box=None, pad_edge=True, header_style="bold cyan", padding=(0, 1))
        for head in heads:
            number = head in right
            table.add_column(head, justify="right" if number else "left", no_wrap=number)
        for row in rows:
            table.add_row(*(Text(f"{v:,}" if isinstance(v, int) else str(v)) for v in row))
        self.console.print(table)

    def builds(self, manifests: Sequence[Manifest]) -> None:
        """What each build read, used and wrote, side by side."""
        names = [manifest.space for manifest in manifests]
        rows = {
            "records read": [m.counts.records for m in manifests],
            "… rejected, each with a reason": [m.counts.records_rejected for m in manifests],
            "items (chunks or pictures)": [m.counts.items for m in manifests],
            "contents embedded": [m.counts.embedded for m in manifests],
            "rows in the table": [m.counts.rows for m in manifests],
            "… marked as exact duplicates": [m.counts.duplicates.exact for m in manifests],
            "… as near duplicates": [m.counts.duplicates.near for m in manifests],
            "… as semantic duplicates": [m.counts.duplicates.semantic for m in manifests],
            "dimensions": [m.embedder.dimensions for m in manifests],
            "seconds": [f"{m.timings.total:.1f}" for m in manifests],
            "release": [m.release or "" for m in manifests],
        }
        self.table(["", *names], [(label, *values) for label, values in rows.items()], names)

    def clusters(self, records: Sequence[ClusterRecord]) -> None:
        """The largest clusters with their sizes and words."""
        table = self._lined("green", size=5)
        for each in sorted(records, key=lambda each: -each.size)[:CLUSTERS]:
            table.add_row(f"{each.size:,}", Text(", ".join(each.terms)))
        self.console.print(table)

    def _lined(self, style: str, **widths: int) -> Table:
        """A table of columns of fixed width and one that takes the rest, cut to its lines."""
        table = Table(box=None, show_header=False, padding=(0, 1), expand=True)
        for name, width in widths.items():
            justify = "left" if name == "reason" else "right"
            table.add_column(width=width, justify=justify, style=style, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        return table

    def rejects(self, groups: Sequence[RejectGroup]) -> None:
        """Each reason with its count and meaning, and one example below it."""
        table = self._lined("green", count=5, reason=20)
        for group in groups:
            example = group.examples[0]
            place = f"line {example.position} of {Path(example.uri).name}"
            named = one_line(example.key, 40) if example.key else place
            detail = f"{named}: {one_line(example.detail, 120)}"
            table.add_row(
                f"{group.count:,}",
                group.reason,
                Text.assemble(group.meaning, "\n", (detail, "dim")),
            )
        self.console.print(table)

    def hits(self, query: str, found: Found, hits: Sequence[tuple[str, str]], where: str) -> None:
        """The hits of one search, each with its score, a name and a line about it."""
        condition = f"  [dim]where {escape(where)}[/]" if where else ""
        self.console.print(f'\n [bold]"{escape(query)}"[/]{condition}')
        table = self._lined("green", score=7)
        for score, (name, about) in zip(found.hits.column(SCORE).to_pylist(), hits, strict=True):
            line = Text.assemble(one_line(name, 90), "\n", (one_line(about, 160), "dim"))
            table.add_row(f"{score:.3f}", line)
        self.console.print(table if hits else "   no hit")


def draw_sheet(found: Sequence[tuple[str, Sequence[Path]]], path: Path) -> None:
    """A PNG with one row for each query: its words, and the pictures that were found."""
    width = CELL * max(len(files) for _, files in found)
    font = ImageFont.load_default(15)
    sheet = Image.new("RGB", (width, (CELL + 34) * len(found)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (query, files) in enumerate(found):
        top = row * (CELL + 34)
        pen.text((8, top + 9), f'"{query}"', fill="black", font=font)
        for column, file in enumerate(files):
            with Image.open(file) as picture:
                cell = picture.convert("RGB").resize((CELL - 6, CELL - 6), Image.Resampling.LANCZOS)
            sheet.paste(cell, (column * CELL + 3, top + 34))
    sheet.save(path, "PNG", optimize=True)
