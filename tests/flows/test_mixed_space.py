"""Text and pictures in one space of an open_clip model; and what cannot be in one space."""

from __future__ import annotations

import json
from pathlib import Path

import lance
import numpy as np
import pytest
from PIL import Image, ImageDraw

import flows.demo
from flows.compose import build_space
from flows.forget import forget_records
from flows.progress import StageBars
from flows.runner import PlainRunner
from schemas.errors import UsageError
from schemas.load import parse_spec
from schemas.manifest import Manifest
from schemas.spec import ClusterSpec
from tasks.erase.asked import Request
from tasks.table.dataset import TableRef
from tasks.table.fits import read_fit

SCENE_CLIP = Path(flows.demo.__file__).parent / "scene_clip"
COLOURS = ["red", "green", "blue", "yellow"]


def write_sources(folder: Path) -> None:
    pictures = folder / "pictures"
    pictures.mkdir()
    for colour in COLOURS:
        for shape in ("ellipse", "rectangle"):
            picture = Image.new("RGB", (96, 64), "white")
            getattr(ImageDraw.Draw(picture), shape)((30, 15, 60, 45), fill=colour)
            picture.save(pictures / f"{colour}_{shape}.png")
    (pictures / "broken.png").write_bytes((pictures / "red_ellipse.png").read_bytes()[:60])
    lines = [{"key": c, "caption": f"a {c} circle"} for c in COLOURS]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def spec_in(folder: Path, **embedder: str):
    return parse_spec(
        {
            "space": "mixed",
            "uri": "./db",
            "workdir": "./work",
            "sources": [
                {"name": "pictures", "kind": "image", "path": "pictures"},
                {
                    "name": "captions",
                    "kind": "text",
                    "path": "captions.jsonl",
                    "key": "key",
                    "text": "caption",
                },
            ],
            "embedder": {
                "kind": "open-clip",
                "model": str(SCENE_CLIP),
                "engine": "torch",
                "precision": "fp32",
                **embedder,
            },
            "expectations": {"max_reject_share": 0.2},
        },
        folder,
        "spec",
    )


def test_text_and_pictures_share_an_open_clip_space(tmp_path):
    write_sources(tmp_path)
    outcome = build_space(spec_in(tmp_path), runner=PlainRunner(StageBars("quiet")))
    counts = outcome.manifest.counts
    assert outcome.exit_code == 0
    assert (counts.records, counts.records_rejected, counts.rows) == (13, 1, 12)
    assert counts.problems() == []
    table = lance.dataset(f"{tmp_path}/db/mixed.lance", version="prod").to_table()
    rows = {row["id"]: row for row in table.to_pylist()}
    assert set(rows) == {
        *(f"captions:{c}#0" for c in COLOURS),
        *(f"pictures:{c}_{s}.png" for c in COLOURS for s in ("ellipse", "rectangle")),
    }
    picture, caption = rows["pictures:red_ellipse.png"], rows["captions:red#0"]
    assert (picture["kind"], picture["text"], picture["chunk"]) == ("image", None, 0)
    assert picture["thumbnail"].startswith(b"\xff\xd8")
    assert (caption["kind"], caption["text"], caption["thumbnail"]) == (
        "text",
        "a red circle",
        None,
    )
    assert picture["uri"].endswith("pictures/red_ellipse.png")
    # one space: the caption is nearest to a picture of its colour
    names = [name for name in rows if name.startswith("pictures:")]
    pictures = np.array([rows[name]["vector"] for name in names], np.float32)
    nearest = names[int(np.argmax(pictures @ np.array(caption["vector"], np.float32)))]
    assert nearest.startswith("pictures:red_")


@pytest.mark.parametrize(
    ("kind", "refused"), [("sentence-transformers", "image"), ("timm", "text")]
)
def test_an_embedder_of_one_kind_refuses_the_other(tmp_path, kind, refused):
    write_sources(tmp_path)
    with pytest.raises(UsageError, match=rf"{refused}.*open-clip"):
        build_space(spec_in(tmp_path, kind=kind, model="some/model"))


def test_a_picture_and_its_thumbnail_are_forgotten(tmp_path):
    write_sources(tmp_path)
    spec = spec_in(tmp_path)
    build_space(spec, None, PlainRunner(StageBars("quiet")))
    table = f"{spec.uri}/mixed.lance"
    wanted = "key IN ('red_ellipse.png', 'green_ellipse.png')"
    rows = lance.dataset(table, version="prod").to_table(filter=wanted).to_pylist()
    [gone] = [row for row in rows if row["key"] == "red_ellipse.png"]
    [other] = [row for row in rows if row["key"] == "green_ellipse.png"]
    broken = "broken.png"

    def seen(needle: bytes) -> bool:
        held = [p.read_bytes() for p in (tmp_path / "db").rglob("*.lance") if p.is_file()]
        return any(needle in data for data in held)

    assert seen(gone["thumbnail"])
    assert seen(other["thumbnail"])
    request = Request(keys=("red_ellipse.png", broken), sources=("pictures",))
    outcome = forget_records(spec, request, yes=True, who="ann")
    assert outcome.exit_code == 0, outcome.message
    assert outcome.document["erased"]["rejects_removed"] == 1
    assert not seen(gone["thumbnail"])
    assert seen(other["thumbnail"])
    # the broken picture can no longer be judged: it was forgotten, and is no mistake any more
    manifest = build_space(spec, None, PlainRunner(StageBars("quiet"))).manifest
    assert manifest.counts.problems() == []
    assert (manifest.counts.records, manifest.counts.records_rejected) == (13, 2)
    assert manifest.counts.rows == 11
    shares = {a.name: a.value for a in manifest.audits if a.name.startswith("max_reject")}
    assert shares == {"max_reject_share:pictures": 0.0, "max_reject_share:captions": 0.0}


def test_a_kind_that_comes_later_gets_a_fit_beside_the_one_that_stands(tmp_path):
    write_sources(tmp_path)
    both = spec_in(tmp_path).model_copy(update={"cluster": ClusterSpec(k=2)})
    captions = both.model_copy(update={"sources": both.sources[1:]})

    def built(spec) -> tuple[Manifest, dict[str, tuple]]:
        manifest = build_space(spec, runner=PlainRunner(StageBars("quiet"))).manifest
        table = lance.dataset(f"{tmp_path}/db/mixed.lance", version="prod").to_table()
        names = ("kind", "cluster", "x", "y")
        return manifest, {row["id"]: tuple(map(row.get, names)) for row in table.to_pylist()}

    first, texts = built(captions)
    assert {cluster for _, cluster, *_ in texts.values()} == {0, 1}
    second, rows = built(both)
    assert second.fit_id != first.fit_id
    assert (second.counts.unchanged, second.counts.new) == (4, 8)
    assert {name: row for name, row in rows.items() if name in texts} == texts
    assert {row[1] for row in rows.values() if row[0] == "image"} == {0, 1}
    assert None not in {row[2] for row in rows.values()}
    old, new = (read_fit(TableRef.of(both), each.fit_id) for each in (first, second))
    assert (list(old.kinds), list(new.kinds)) == (["text"], ["image", "text"])
