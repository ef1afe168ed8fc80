"""Near-duplicate pictures: what is one picture, who is kept, and that nothing else decides it."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from made_pictures import COPIES, jpeg, made_picture_records, scene
from PIL import Image, ImageColor, ImageOps, ImageStat

from schemas.refs import RecordsPart
from schemas.spec import DedupeSpec, NearSpec
from tasks.dedupe.near import find_near, unseen_pictures
from tasks.store.vectors import release_vectors
from tasks.store.workdir import Store

NEAR = DedupeSpec(near=NearSpec())


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "work"))


def marks(store: Store, *parts: RecordsPart, spec: DedupeSpec = NEAR) -> dict[str, str]:
    """`source:key` → that of the record it is marked by."""
    path = find_near(parts, [()] * len(parts), [], spec, store)
    rows = pl.read_parquet(path).iter_rows(named=True)
    return {f"{row['source']}:{row['key']}": row["kept_id"] for row in rows}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found(store, tmp_path, copy):
    files = {"a.jpg": jpeg(scene(1)), "b.jpg": COPIES[copy](scene(1)), "c.jpg": jpeg(scene(2))}
    times = {"a.jpg": datetime(2026, 1, 1, tzinfo=UTC)}
    part = made_picture_records(store, tmp_path / "files", files, times=times)
    assert marks(store, part) == {"photos:b.jpg": "photos:a.jpg"}


def square(colour: str, ground: str) -> bytes:
    """A square of one colour on a ground of another."""
    picture = Image.new("RGB", (160, 120), ground)
    picture.paste(ImageColor.getrgb(colour), (30, 40, 80, 90))
    return jpeg(picture)


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.mark.parametrize("ground", ["white", "black", "lightgreen"])
def test_pictures_that_differ_in_colour_alone_are_not_one(store, tmp_path, ground):
    red, blue = "#d62e2a", "#4a63e8"  # as bright as each other
    files = {"a.jpg": square(red, ground), "b.jpg": square(blue, ground)}
    greys = [ImageOps.grayscale(opened(data)) for data in files.values()]
    assert abs(ImageStat.Stat(greys[0]).mean[0] - ImageStat.Stat(greys[1]).mean[0]) < 2
    assert marks(store, made_picture_records(store, tmp_path / "files", files)) == {}


def test_a_grey_copy_of_two_is_of_the_first_of_them(store, tmp_path):
    """Grey agrees with any colour; who is kept decides."""
    grey = jpeg(ImageOps.grayscale(Image.open(BytesIO(square("#d62e2a", "white")))), 60)
    files = {
        "a.png": square("#d62e2a", "white"),
        "b.jpg": square("#4a63e8", "white"),
        "c.jpg": grey,
    }
    times = {"a.png": datetime(2026, 1, 1, tzinfo=UTC), "b.jpg": datetime(2026, 1, 2, tzinfo=UTC)}
    part = made_picture_records(store, tmp_path / "files", files, times=times)
    assert marks(store, part) == {"photos:c.jpg": "photos:a.png"}


def test_strangers_are_not_marked(store, tmp_path):
    files = {f"{seed}.jpg": jpeg(scene(seed)) for seed in range(60)}
    assert marks(store, made_picture_records(store, tmp_path / "files", files)) == {}


def test_pictures_without_contrast_resemble_nothing(store, tmp_path):
    from made_images import made_image

    files = {"white.png": made_image("white"), "grey.png": made_image("grey")}
    assert marks(store, made_picture_records(store, tmp_path / "files", files)) == {}


def test_the_larger_file_is_kept_and_the_score_says_how_alike(store, tmp_path):
    files = {"a.jpg": COPIES["resized"](scene(1)), "b.jpg": jpeg(scene(1))}
    part = made_picture_records(store, tmp_path / "files", files)
    path = find_near([part], [()], [], NEAR, store)
    [row] = pl.read_parquet(path).rows(named=True)
    assert row | {"score": None} == {
        "source": "photos",
        "key": "a.jpg",
        "kind": "image",
        "kept_source": "photos",
        "kept_key": "b.jpg",
        "kept_id": "photos:b.jpg",
        "score": None,
    }
    assert 0.96 <= row["score"] <= 1


def test_copies_of_a_marked_file_are_marked_with_it(store, tmp_path):
    small = COPIES["resized"](scene(1))
    files = {"a.jpg": jpeg(scene(1)), "b.jpg": small, "c.jpg": small}
    part = made_picture_records(store, tmp_path / "files", files)
    path = find_near([part], [()], [], NEAR, store)
    rows = pl.read_parquet(path).select("key", "kept_key", "score").rows()
    assert [row[:2] for row in rows] == [("b.jpg", "a.jpg"), ("c.jpg", "a.jpg")]
    assert rows[0][2] == rows[1][2] < 1


@pytest.mark.parametrize(
    ("within", "expected"), [("space", {"web:a.jpg": "photos:a.jpg"}), ("source", {})]
)
def test_within_says_whether_sources_are_compared(store, tmp_path, within, expected):
    parts = [
        made_picture_records(store, tmp_path / "photos", {"a.jpg": jpeg(scene(1))}),
        made_picture_records(
            store, tmp_path / "web", {"a.jpg": COPIES["resized"](scene(1))}, source="web"
        ),
    ]
    assert marks(store, *parts, spec=DedupeSpec(near=NearSpec(), within=within)) == expected


def test_a_threshold_above_the_floor_is_kept_to(store, tmp_path):
    files = {"a.jpg": jpeg(scene(1)), "b.jpg": COPIES["cropped"](scene(1))}
    part = made_picture_records(store, tmp_path / "files", files)
    assert marks(store, part) != {}
    assert marks(store, part, spec=DedupeSpec(near=NearSpec(threshold=1.0))) == {}


def test_rejected_records_are_left_out(store, tmp_path):
    from tasks.store.workdir import RejectsWriter

    files = {
        "a.jpg": jpeg(scene(1)),
        "b.jpg": COPIES["grey"](scene(1)),
        "c.jpg": jpeg(scene(1), 80),
    }
    part = made_picture_records(store, tmp_path / "files", files)
    with RejectsWriter(store, "some", source="photos", kind="image") as rejects:
        for key, row in (("a.jpg", 0), ("c.jpg", 2)):
            rejects.add(key=key, stage="validate", reason="x", uri=key, part=part.digest, row=row)
    path = find_near([part], [(rejects.ref,)], [], NEAR, store)
    assert pl.read_parquet(path).is_empty()


def test_without_thumbnails_the_files_are_read_to_the_same_end(store, tmp_path):
    files = {f"{copy}.jpg": make(scene(1)) for copy, make in COPIES.items()}
    with_them = made_picture_records(store, tmp_path / "files", files)
    other = Store(str(tmp_path / "other"))
    without = made_picture_records(other, tmp_path / "files", files, thumbnails=False)
    first, second = (
        pl.read_parquet(find_near([part], [()], [], NEAR, place))
        for part, place in ((with_them, store), (without, other))
    )
    assert first.height == len(files) - 1
    assert first.equals(second)  # the scores, too


def test_a_picture_that_is_gone_is_counted(store, tmp_path):
    files = {"a.jpg": jpeg(scene(1)), "b.jpg": COPIES["grey"](scene(1)), "c.jpg": jpeg(scene(2))}
    part = made_picture_records(store, tmp_path / "files", files, thumbnails=False)
    (tmp_path / "files" / "a.jpg").unlink()
    (tmp_path / "files" / "c.jpg").write_bytes(jpeg(scene(1)))  # another picture by now
    path = find_near([part], [()], [], NEAR, store)
    assert (pl.read_parquet(path).height, unseen_pictures(path)) == (0, 2)


def test_a_second_build_signs_and_compares_what_is_new(store, tmp_path, monkeypatch):
    from tasks.dedupe.pictures import judged_pictures, picture_signatures

    files = {f"{seed}.jpg": jpeg(scene(seed)) for seed in range(20)}
    first = made_picture_records(store, tmp_path / "files", files)
    assert marks(store, first) == {}
    signed: list[int] = []
    known: list[int] = []
    sign, keep = picture_signatures._sign, judged_pictures.keep_pictures

    def counted_sign(pictures, *rest):
        signed.append(pictures.height)
        return sign(pictures, *rest)

    def counted_keep(hashes, levels, told, *rest):
        known.append(int((told != judged_pictures.NEW).sum()))
        return keep(hashes, levels, told, *rest)

    monkeypatch.setattr(picture_signatures, "_sign", counted_sign)
    monkeypatch.setattr(judged_pictures, "keep_pictures", counted_keep)
    more = {**files, "x.jpg": COPIES["mirrored"](scene(7))}
    second = made_picture_records(store, tmp_path / "files", more)
    found = marks(store, second)
    assert (signed, known) == ([1], [20])
    fresh = Store(str(Path(store.root).with_name("fresh")))
    assert found == marks(fresh, made_picture_records(fresh, tmp_path / "files", more))
    assert len(found) == 1


def test_of_many_sources_each_takes_up_its_own_verdict(store, tmp_path, monkeypatch):
    from tasks.dedupe.pictures import judged_pictures

    spec = DedupeSpec(near=NearSpec(), within="source")
    names = [f"s{number}" for number in range(judged_pictures.LOOKED_INTO + 2)]

    def parts(each: int) -> list[RecordsPart]:
        return [
            made_picture_records(
                store,
                tmp_path / name,
                {f"{seed}.jpg": jpeg(scene(10 * at + seed)) for seed in range(each)},
                source=name,
            )
            for at, name in enumerate(names)
        ]

    marks(store, *parts(2), spec=spec)
    known: list[int] = []
    keep = judged_pictures.keep_pictures

    def counted(hashes, levels, told, *rest):
        known.append(int((told != judged_pictures.NEW).sum()))
        return keep(hashes, levels, told, *rest)

    monkeypatch.setattr(judged_pictures, "keep_pictures", counted)
    marks(store, *parts(3), spec=spec)
    assert known == [2] * len(names)


def test_signatures_of_erased_contents_go_like_vectors(store, tmp_path):
    from schemas.identity import digest_bytes
    from tasks.dedupe.pictures.picture_signatures import SIGNATURE_KEY
    from tasks.erase.staged import drop_vectors
    from tasks.store.vectors import vector_index

    files = {"a.jpg": jpeg(scene(1)), "b.jpg": jpeg(scene(2))}
    marks(store, made_picture_records(store, tmp_path / "files", files))
    gone = digest_bytes(files["a.jpg"])
    assert drop_vectors(store.root, frozenset({gone})) == 1
    release_vectors()
    left = vector_index(store, SIGNATURE_KEY).hashes.tobytes()
    assert left == digest_bytes(files["b.jpg"])
