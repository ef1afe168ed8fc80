"""An export is written once and whole, whoever else writes it, and runs without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import MissingExtraError, UsageError, VecmillError
from tasks.embedders import load as loading
from tasks.embedders.exported import export as exporting
from tasks.embedders.exported import folder as folders
from tasks.embedders.exported.engines import ENGINES
from tasks.embedders.exported.export import exported_already
from tasks.embedders.exported.folder import read_export, written_whole
from tasks.embedders.load import load
from tasks.store.expiry import DAY, expire
from tasks.store.workdir import TEMPORARY

REPOSITORY = Path(__file__).parents[3]

EMBED = """
import json, sys
from dataclasses import replace
from schemas.spec import EmbedderSpec
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve

kind, model, engine, exports = sys.argv[1:]
ref = replace(
    resolve(EmbedderSpec(kind=kind, model=model), ()),
    engine=engine, precision="fp32", exports=exports,
)
embedder = load(ref)
if "text" in ref.kinds:
    embedder.embed_texts(["the cat sat on a mat"])
    embedder.token_counts(["the cat"])
if "image" in ref.kinds:
    from PIL import Image
    embedder.embed_images([Image.new("RGB", (40, 30), "red")])
print(json.dumps(sorted(sys.modules)))
"""


def in_a_child(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", EMBED, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def modules_of(child: subprocess.Popen[str]) -> set[str]:
    out, err = child.communicate(timeout=240)
    assert child.returncode == 0, err
    return set(json.loads(out.splitlines()[-1]))


def folder_of(ref: Any) -> Path:
    engine = ENGINES[ref.engine]
    return folders.export_folder(ref.exports, ref.fingerprint, engine.name, engine.version)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Forgets loaded models, so that each `load` is a new one; lists the exports made."""
    made: list[str] = []
    original = exporting.export

    def counted(ref: Any, folder: Path, load_torch: Any) -> None:
        made.append(folder.name)
        original(ref, folder, load_torch)

    monkeypatch.setattr(exporting, "export", counted)
    monkeypatch.setattr(loading, "_loaded", {})
    return made


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
@pytest.mark.parametrize("kind", ["sentence-transformers", "open-clip", "timm"])
def test_an_exported_model_runs_without_the_libraries_that_made_it(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    tiny_clip: Path,
    tiny_timm: Path,
    kind: str,
    engine: str,
) -> None:
    folder = {
        "sentence-transformers": tiny_sentences,
        "open-clip": tiny_clip,
        "timm": tiny_timm,
    }[kind]
    ref = ref_of(kind, folder, engine)
    load(ref)

    modules = modules_of(in_a_child(kind, str(folder), engine, ref.exports))
    heavy = {"torch", "transformers", "sentence_transformers", "open_clip", "timm", "torchvision"}
    assert modules & heavy == set()
    assert ENGINES[engine].package in modules


@pytest.mark.slow  # torch's libraries twice over
def test_two_processes_that_export_at_once_both_end_well(
    ref_of: Callable[..., Any], tiny_sentences: Path, tmp_path: Path
) -> None:
    given = ("sentence-transformers", str(tiny_sentences), "openvino", str(tmp_path))
    children = [in_a_child(*given) for _ in range(2)]
    for child in children:
        modules_of(child)

    ref = ref_of(*given[:3], exports=tmp_path)
    assert exported_already(ref)
    assert [path.name for path in folder_of(ref).parent.iterdir()] == [folder_of(ref).name]


def test_the_second_of_two_writers_leaves_the_firsts_export(tmp_path: Path) -> None:
    folder = tmp_path / "openvino"

    def write(place: Path, engine: str) -> None:
        (place / "text.xml").write_text(engine)
        folders.Export("abc", engine, {}).write(place)

    with written_whole(folder) as late:
        with written_whole(folder) as early:
            write(early, "early")
        write(late, "late")

    export = read_export(folder)
    assert export is not None
    assert export.engine == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["openvino"]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with written_whole(tmp_path / "openvino") as place:
            (place / "text.xml").write_text("half")
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_what_a_writer_that_is_killed_leaves_is_found_by_the_sweep(tmp_path: Path) -> None:
    with written_whole(tmp_path / "openvino") as place:
        assert place.name.startswith(TEMPORARY)


def test_an_export_that_is_loaded_is_marked_as_used(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    tmp_path: Path,
    fresh: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = ref_of("sentence-transformers", tiny_sentences, exports=tmp_path)
    load(ref)
    old = time.time() - 30 * DAY
    for path in folder_of(ref).iterdir():
        os.utime(path, (old, old))
    monkeypatch.setattr(loading, "_loaded", {})
    assert exported_already(ref)
    load(ref)

    assert expire(tmp_path, 7, []).files == 0
    assert len(fresh) == 1


def _missing(folder: Path) -> None:
    (folder / "export.json").unlink()


def _cut(folder: Path) -> None:
    file = folder / "text.bin"
    file.write_bytes(file.read_bytes()[:-8])


def _garbled(folder: Path) -> None:
    (folder / "export.json").write_text('{"fingerprint": "x"}')


@pytest.mark.parametrize("damage", [_missing, _cut, _garbled])
def test_an_export_that_is_not_whole_is_made_again(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    tmp_path: Path,
    fresh: list[str],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
) -> None:
    ref = ref_of("sentence-transformers", tiny_sentences, exports=tmp_path)
    vectors = load(ref).embed_texts(["the cat"])
    damage(folder_of(ref))
    assert not exported_already(ref)

    monkeypatch.setattr(loading, "_loaded", {})
    np.testing.assert_array_equal(load(ref).embed_texts(["the cat"]), vectors)
    assert len(fresh) == 2
    assert len(list(folder_of(ref).parent.iterdir())) == 1


def test_an_export_is_made_once_and_again_for_another_version(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    tmp_path: Path,
    fresh: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = ref_of("sentence-transformers", tiny_sentences, exports=tmp_path)
    load(ref)
    monkeypatch.setattr(loading, "_loaded", {})
    load(replace(ref, precision="bf16"))
    assert len(fresh) == 1

    monkeypatch.setattr(folders, "FORMAT", 2)
    monkeypatch.setattr(loading, "_loaded", {})
    assert not exported_already(ref)
    load(ref)
    assert len(fresh) == 2
    assert len(list(folder_of(ref).parent.iterdir())) == 2


# What cannot be exported


def test_a_table_of_word_vectors_is_refused(ref_of: Callable[..., Any], shared: Path) -> None:
    folder = shared / "models/potion-4m-fp16"

    with pytest.raises(UsageError, match=r"'openvino'.*potion.*no transformer.*engine: torch"):
        load(ref_of("sentence-transformers", folder))


def test_vectors_that_differ_from_torchs_are_refused_with_the_figure(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    tmp_path: Path,
    fresh: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tasks.embedders.exported import embedder

    right = embedder.finished
    monkeypatch.setattr(embedder, "finished", lambda vectors, ref: right(vectors, ref) + 0.1)
    ref = ref_of("sentence-transformers", tiny_sentences, exports=tmp_path)

    with pytest.raises(UsageError, match=r"1 − cosine \d\.\de.*1e-05 was expected.*engine: torch"):
        load(ref)
    assert list(folder_of(ref).parent.iterdir()) == []


def test_a_precision_that_the_engine_has_not_is_refused(
    ref_of: Callable[..., Any], tiny_sentences: Path
) -> None:
    with pytest.raises(UsageError, match=r"'bf16' with embedder.engine 'onnx'.*computes fp32"):
        load(ref_of("sentence-transformers", tiny_sentences, "onnx", "bf16"))


def test_an_engine_that_is_not_installed_prints_the_install_line(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    fresh: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = replace(ENGINES["onnx"], package="no-such-runtime")
    monkeypatch.setitem(ENGINES, "onnx", missing)
    ref = ref_of("sentence-transformers", tiny_sentences, "onnx")

    assert not exported_already(ref)
    with pytest.raises(MissingExtraError, match=r"no-such-runtime.*pip install 'vecmill\[onnx\]'"):
        load(ref)


def test_a_reference_without_a_folder_for_exports_is_refused(
    ref_of: Callable[..., Any], tiny_sentences: Path, fresh: list[str]
) -> None:
    ref = replace(ref_of("sentence-transformers", tiny_sentences), exports="")

    with pytest.raises(VecmillError, match=r"engine openvino needs a folder.*or use torch"):
        load(ref)


def test_a_model_that_an_engine_has_no_operation_for_is_refused_in_one_line(
    ref_of: Callable[..., Any],
    tiny_timm: Path,
    tmp_path: Path,
    fresh: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import torch

    from tasks.embedders.exported import traced

    odd = traced._Pictures.forward
    monkeypatch.setattr(
        traced._Pictures, "forward", lambda self, pixels: torch.special.i0e(odd(self, pixels))
    )
    ref = ref_of("timm", tiny_timm, "onnx", exports=tmp_path)

    with pytest.raises(UsageError, match=r"'onnx'.*UnsupportedOperator.*i0e.*engine: torch"):
        load(ref)
    assert capfd.readouterr().out == ""
    assert list(folder_of(ref).parent.iterdir()) == []
