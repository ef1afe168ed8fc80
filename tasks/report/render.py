"""One self-contained HTML page: no network, every text from a document escaped.

Jinja2 with autoescape writes the page; data for the script goes through `tojson`, which escapes
`<`, `>`, `&` and `'`. The page carries a content security policy that allows no connection and only
the one script whose hash it names, so that a slip in escaping would still run nothing.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from schemas.manifest import Counts, Manifest
from tasks.report.data import Histogram, Picture, ReportData
from tasks.report.pictures import data_uri
from tasks.report.verdict import verdict

CLASSES = ["new", "changed", "metadata_only", "rejudged", "unchanged", "removed"]

TIERS = ["exact", "near", "semantic"]


@dataclass(frozen=True)
class Step:
    """A bar of the funnel: `share` (0 to 1) of the widest bar of its half."""

    label: str
    count: int
    share: float
    tone: str = "flow"  # flow | loss | mark
    note: str = ""


def write_report(data: ReportData, path: Path) -> Path:
    """Write the page to `path` (renamed into place when whole) and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".tmp-{path.name}")
    part.write_text(render(data), encoding="utf-8")
    return part.replace(path)


def render(data: ReportData) -> str:
    """The page as one string."""
    script = _asset("report.js")
    manifest = data.manifest
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            manifest=manifest,
            counts=manifest.counts,
            verdict=verdict(manifest),
            funnel=funnel(data),
            classes=[(name, getattr(manifest.counts, name)) for name in CLASSES],
            audits=sorted(manifest.audits, key=lambda a: (not a.refuses, a.passed)),
            timings=_timings(manifest),
            spec=yaml.safe_dump(manifest.resolved_spec, sort_keys=False, allow_unicode=True),
            pictures=[_picture_json(picture) for picture in data.pictures],
            style=Markup(_asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def funnel(data: ReportData) -> list[Step]:
    """From records read to rows kept; each half is drawn to its own widest bar."""
    counts = data.manifest.counts
    records, items = max(counts.records, 1), max(counts.items, 1)
    losses = data.rejects_by_stage
    steps = [Step("records read", counts.records, counts.records / records)]
    steps += [
        Step(f"rejected in {stage}", n, n / records, "loss")
        for (level, stage), n in losses.items()
        if level == "record"
    ]
    steps.append(Step("records used", counts.records_used, counts.records_used / records))
    steps.append(
        Step("items to embed", counts.items, counts.items / items, note=_per_record(counts))
    )
    steps += [
        Step(f"rejected in {stage}", n, n / items, "loss")
        for (level, stage), n in losses.items()
        if level == "item"
    ]
    label = "rows published" if data.manifest.published else "rows"
    steps.append(Step(label, counts.rows, counts.rows / items))
    for tier in TIERS:
        if marked := getattr(counts.duplicates, tier):
            steps.append(Step(f"of them {tier} duplicates", marked, marked / items, "mark"))
    return steps


def _per_record(counts: Counts) -> str:
    each = f"{counts.items / counts.records_used:.1f}" if counts.records_used else "1.0"
    return "" if each == "1.0" else f"{each} per record"


def _timings(manifest: Manifest) -> list[tuple[str, float, float]]:
    """(stage, seconds, share of the slowest) of the stages that took any time."""
    seconds = manifest.timings.model_dump(by_alias=True)
    seconds.pop("total")
    slowest = max(seconds.values(), default=0.0)
    return [(name, s, s / slowest) for name, s in seconds.items() if s > 0]


def _picture_json(picture: Picture) -> dict[str, Any]:
    """What the script draws: columns, so that the page stays small."""
    return {
        "kind": picture.kind,
        "x": picture.x,
        "y": picture.y,
        "id": [member.id for member in picture.members],
        "text": [member.text for member in picture.members],
        "thumbnail": [m.thumbnail and data_uri(m.thumbnail) for m in picture.members],
        "colourings": [
            {
                "column": c.column,
                "names": c.names,
                "codes": c.codes,
                "tones": c.tones,
                "ordered": c.ordered,
            }
            for c in picture.colourings
        ],
        "labels": [
            {"name": each.name, "cluster": each.cluster, "x": each.x, "y": each.y}
            for each in picture.labels
        ],
        "cluster": _cluster_codes(picture),
    }


def _cluster_codes(picture: Picture) -> tuple[int, ...]:
    """The place of each point's cluster among the labels: what the tip says of a point."""
    return picture.colourings[0].codes if picture.labels else ()


def _bars(histogram: Histogram) -> list[dict[str, float]]:
    """Bars of the histogram in a 100 × 100 box."""
    highest = max(histogram.counts, default=0) or 1
    width = 100 / max(len(histogram.counts), 1)
    return [
        {"x": i * width, "width": width * 0.86, "height": n / highest * 96, "n": n}
        for i, n in enumerate(histogram.counts)
    ]


def _number(value: float | None) -> str:
    """A measured value for reading: 0.9998, 12, 3.2e-05."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _seconds(value: float) -> str:
    if round(value, 1) < 60:
        return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02} s"


def _share(part: float, whole: float) -> str:
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %"


def _moment(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M} {value.tzname() or ''}".strip()


@cache
def _asset(name: str) -> str:
    return (resources.files("tasks.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=lambda n: f"{n:,}",
        number=_number,
        seconds=_seconds,
        moment=_moment,
        data_uri=data_uri,
        bars=_bars,
        share=_share,
    )
    return environment
