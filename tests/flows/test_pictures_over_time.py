"""`mode: append` for pictures: the vectors of those whose files are gone stand in the table."""

from __future__ import annotations

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flows.demo
from flows.compose import build_space
from flows.progress import StageBars
from flows.runner import PlainRunner
from made_images import made_image, made_tar
from made_specs import PLAIN
from schemas.load import parse_spec
from schemas.spec import BuildOverrides
from tasks.table.companions import read_rejects
from tasks.table.dataset import TableRef

SCENE_CLIP = Path(flows.demo.__file__).parent / "scene_clip"


class Pictures:
    """A space of pictures in single files, in an archive and in a table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.precision = "fp32"
        self.max_reject_share = 0.0
        self.publish = {"vector_type": "float32"}
        for name in ("files", "tars", "tables"):
            (folder / name).mkdir()
        for colour in ("red", "green", "blue"):
            (folder / "files" / f"{colour}.png").write_bytes(made_image(colour))
        made_tar(folder / "tars" / "1.tar", {"a.png": made_image("yellow")})
        made_tar(folder / "tars" / "2.tar", {"b.png": made_image("orange")})
        self.table(1, {"c": made_image("purple")})
        self.table(2, {"d": made_image("pink")})

    def table(self, number: int, pictures: dict[str, bytes]) -> None:
        rows = {"id": list(pictures), "bytes": list(pictures.values())}
        pq.write_table(pa.table(rows), self.folder / "tables" / f"{number}.parquet")

    def drop(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink()

    def build(self):
        outcome = self.outcome()
        assert outcome.exit_code == 0, outcome.message
        assert outcome.manifest.counts.problems() == []
        return outcome

    def outcome(self):
        image = {"kind": "image", "mode": "append"}
        data = {
            "space": "pictures",
            "uri": "./db",
            "workdir": "./work",
            "sources": [
                {**image, "name": "files", "path": "files"},
                {**image, "name": "tars", "path": "tars/*.tar"},
                {**image, "name": "tables", "path": "tables", "key": "id", "image": "bytes"},
            ],
            **PLAIN,
            "embedder": {
                "kind": "open-clip",
                "model": str(SCENE_CLIP),
                "engine": "torch",
                "precision": self.precision,
            },
            "expectations": {"max_reject_share": self.max_reject_share},
            "publish": self.publish,
        }
        spec = parse_spec(data, self.folder, "spec")
        quiet = PlainRunner(StageBars("quiet"))
        return build_space(spec, BuildOverrides(yes=True), quiet)

    def rows(self) -> dict[str, dict]:
        table = lance.dataset(f"{self.folder}/db/pictures.lance", version="prod").to_table()
        return {row["id"]: row for row in table.to_pylist()}


GONE = ("files/red.png", "files/green.png", "tars/1.tar", "tables/1.parquet")


@pytest.fixture
def pictures(tmp_path) -> Pictures:
    return Pictures(tmp_path)


def test_pictures_stay_with_vector_and_thumbnail(pictures):
    pictures.build()
    before = pictures.rows()
    pictures.drop(*GONE)
    (pictures.folder / "files" / "black.png").write_bytes(made_image("black"))
    counts = pictures.build().manifest.counts
    rows = pictures.rows()
    assert rows.pop("files:black.png")["thumbnail"].startswith(b"\xff\xd8")
    assert rows == before
    assert (counts.embedded, counts.records, counts.unchanged) == (1, 8, 7)
    assert pictures.build().manifest.published is False


def test_the_kept_one_of_two_copies_stays_when_its_file_goes(pictures):
    (pictures.folder / "files" / "zz.png").write_bytes(made_image("red"))
    pictures.build()
    assert pictures.rows()["files:zz.png"]["duplicate_of"] == "files:red.png"
    pictures.drop("files/red.png")
    outcome = pictures.build()
    assert (outcome.manifest.published, outcome.manifest.counts.unchanged) == (False, 8)


def test_another_vector_type_takes_them_along(pictures):
    pictures.build()
    before = pictures.rows()
    pictures.drop(*GONE)
    pictures.publish = {"vector_type": "float16"}
    counts = pictures.build().manifest.counts
    rows = pictures.rows()
    assert (counts.embedded, counts.rows) == (0, 7)
    assert {key: row["thumbnail"] for key, row in rows.items()} == {
        key: row["thumbnail"] for key, row in before.items()
    }
    for key, row in rows.items():
        half, whole = np.array(row["vector"]), np.array(before[key]["vector"])
        cosine = half @ whole / np.linalg.norm(half) / np.linalg.norm(whole)
        assert 1 - cosine < 1e-6


def test_a_vector_that_cannot_be_computed_anew_is_a_reject_that_says_so(pictures):
    pictures.build()
    pictures.drop(*GONE)
    (pictures.folder / "files" / "copy.png").write_bytes(made_image("red"))
    pictures.precision = "bf16"
    assert set(pictures.outcome().manifest.refused_by) == {
        f"max_reject_share:{source}:items" for source in ("files", "tables", "tars")
    }
    pictures.max_reject_share = 1.0
    outcome = pictures.build()
    counts = outcome.manifest.counts
    # red.png is gone, but a copy of it is there
    assert sorted(pictures.rows()) == [
        "files:blue.png",
        "files:copy.png",
        "files:red.png",
        "tables:d",
        "tars:2.tar/b.png",
    ]
    assert (counts.items, counts.rows, counts.items_rejected) == (8, 5, 3)
    ref = TableRef(f"{pictures.folder}/db", "pictures")
    batches = read_rejects(ref, outcome.manifest.build_id)
    rejects = sorted((r for b in batches for r in b.to_pylist()), key=lambda r: r["id"])
    assert [(r["id"], r["reason"]) for r in rejects] == [
        ("files:green.png", "source-changed"),
        ("tables:c", "source-changed"),
        ("tars:1.tar/a.png", "source-changed"),
    ]
    for reject in rejects:
        assert "the row was kept of a release" in reject["detail"]
        assert "its vector cannot be computed anew" in reject["detail"]


def test_a_file_that_cannot_be_read_says_nothing_of_its_picture(pictures):
    pictures.build()
    before = pictures.rows()
    red = pictures.folder / "files" / "red.png"
    red.unlink()
    red.symlink_to("missing.png")
    pictures.max_reject_share = 1.0
    counts = pictures.build().manifest.counts
    assert pictures.rows() == before
    assert (counts.records, counts.records_used, counts.records_rejected) == (8, 7, 1)
