"""The engine check finds what computes other vectors than fp32 torch, and says how far off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import MissingExtraError, UsageError, VecmillError
from schemas.refs import EmbedderRef
from schemas.spec import EmbedderSpec
from tasks.embedders import engine_check, engine_choice
from tasks.embedders.check_pictures import check_pictures
from tasks.embedders.check_texts import CHECK_TEXTS
from tasks.embedders.engine_check import THRESHOLD, compare, take_reference, try_engine
from tasks.embedders.engine_choice import check
from tasks.embedders.resolve import resolve

Change = Callable[[Sequence[str], np.ndarray], np.ndarray]


class FakeEngine:
    """A vector drawn for each text, which `change` turns into what an engine makes of it."""

    token_budget = image_batch = in_flight = 1

    def __init__(self, ref: EmbedderRef, change: Change) -> None:
        self.ref, self.dimensions, self._change = ref, ref.dimensions, change

    def embed_texts(self, texts: Sequence[str], **_options: object) -> np.ndarray:
        """Unit vectors, float32 `[n, d]`."""
        seeds = [sum(map(ord, text)) for text in texts]
        made = [np.random.default_rng(seed).normal(size=self.dimensions) for seed in seeds]
        unit = np.array([vector / np.linalg.norm(vector) for vector in made])
        return self._change(texts, unit).astype(np.float32)


def as_it_is(_texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
    return vectors


def turned(by: float) -> Change:
    """Every vector turned so that 1 − cos to what it was is `by`."""

    def turn(_texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        other = np.roll(vectors, 1, axis=1)
        other -= (other * vectors).sum(1, keepdims=True) * vectors
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        angle = np.arccos(1 - by)
        return np.cos(angle) * vectors + np.sin(angle) * other

    return turn


def garbage_from(characters: int) -> Change:
    """Texts of so many characters and more get the vector of another."""

    def spoil(texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        long = np.array([len(text) >= characters for text in texts])
        return np.where(long[:, None], np.roll(vectors, 1, axis=1), vectors)

    return spoil


@pytest.fixture
def ref(minilm: str, tmp_path: Path) -> EmbedderRef:
    """A reference whose model nobody loads, with a folder for what is measured."""
    resolved = resolve(EmbedderSpec(kind="sentence-transformers", model=minilm), {"text"})
    return replace(resolved, engine="openvino", precision="bf16", exports=str(tmp_path))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, Change]:
    """Engine → what it makes of the right vectors, instead of loading a model."""
    changes: dict[str, Change] = {"torch": as_it_is}

    def load(ref: EmbedderRef) -> FakeEngine:
        return FakeEngine(ref, changes[ref.engine])

    monkeypatch.setattr(engine_check.loading, "load", load)
    monkeypatch.setattr(engine_check, "RUN_SECONDS", 0.0)
    monkeypatch.setattr(engine_choice, "installed", lambda engine: True)
    return changes


def test_the_texts_are_fixed_and_of_every_length() -> None:
    lengths = [len(text) for text in CHECK_TEXTS]

    assert len(set(CHECK_TEXTS)) == 64
    assert min(lengths) < 10
    assert max(lengths) > 4_000
    assert sorted(lengths)[32] in range(100, 600)
    scripts = {"CYRILLIC": "\u0400\u04ff", "HAN": "\u4e00\u9fff", "ARABIC": "\u0600\u06ff"}
    for first, last in scripts.values():
        assert any(first <= letter <= last for text in CHECK_TEXTS for letter in text)


def test_the_pictures_are_the_same_in_every_process() -> None:
    program = (
        "import hashlib\nfrom tasks.embedders.check_pictures import check_pictures\n"
        "print(hashlib.md5(b''.join(p.tobytes() for p in check_pictures())).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    pictures = check_pictures()

    assert runs[0].stdout == runs[1].stdout
    assert len(pictures) == 64
    assert {picture.mode for picture in pictures} == {"RGB"}
    assert len({picture.size for picture in pictures}) > 20


@pytest.mark.parametrize("off", [0.0, 1e-6, 1.9e-4])
def test_small_differences_pass_with_their_figure(
    ref: EmbedderRef, engines: dict[str, Change], off: float
) -> None:
    engines["openvino"] = turned(off)
    trial, reference = check(ref)

    assert trial.off == pytest.approx(off, abs=1e-6)
    assert trial.problem is None
    assert set(trial.seconds) == set(reference) == {"text"}


def test_an_engine_that_is_off_by_3e_4_is_refused_with_the_figure(
    ref: EmbedderRef, engines: dict[str, Change]
) -> None:
    engines["openvino"] = turned(3e-4)

    with pytest.raises(UsageError, match=r"openvino bf16.*1 − cos.*0\.0003, at most 0\.0002"):
        check(ref)
    assert list(Path(ref.exports).rglob("*")) == [], "what failed is not recorded as checked"


def test_an_engine_that_is_wrong_for_long_texts_alone_is_refused_and_the_text_named(
    ref: EmbedderRef, engines: dict[str, Change]
) -> None:
    engines["openvino"] = garbage_from(3_000)
    trial = try_engine(ref, take_reference(ref))

    assert trial.off is not None
    assert trial.off > 0.1
    assert "characters" in str(trial.problem)
    wrong = sum(len(text) >= 3_000 for text in CHECK_TEXTS)
    assert f"worst of {wrong} is text" in str(trial.problem)


def test_a_fault_in_one_short_text_is_found(ref: EmbedderRef, engines: dict[str, Change]) -> None:
    def spoil(texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        vectors[texts.index("bread")] *= -1
        return vectors

    engines["openvino"] = spoil

    with pytest.raises(UsageError, match=r"up to 2, .*worst of 1 is text 1 of 64 \(5 characters\)"):
        check(ref)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _texts, v: v * np.nan, "64 vectors are not finite, the first of text 1"),
        (lambda _texts, v: v[:, :-1], r"vectors of shape \(64, 383\), \(64, 384\) expected"),
        (lambda _texts, v: v[1:], r"vectors of shape \(63, 384\)"),
        (lambda _texts, v: v * 1.03, r"3\.0% longer or shorter.*at most 2%"),
        (lambda _texts, v: v * 0, "1 − cos to torch fp32 is up to 1,"),
    ],
    ids=["not finite", "width", "number", "length", "zero"],
)
def test_other_faults_are_named(
    ref: EmbedderRef, engines: dict[str, Change], change: Change, message: str
) -> None:
    engines["openvino"] = change

    with pytest.raises(UsageError, match=message):
        check(ref)


def test_an_engine_that_fails_says_why(ref: EmbedderRef, engines: dict[str, Change]) -> None:
    def fail(_texts: Sequence[str], _vectors: np.ndarray) -> np.ndarray:
        raise RuntimeError("no kernel for\n  this")

    engines["openvino"] = fail

    with pytest.raises(UsageError, match=r"RuntimeError: no kernel for this\. Write engine: auto"):
        check(ref)


def test_a_model_that_gives_no_vectors_at_all_is_no_fault_of_the_engine(
    ref: EmbedderRef, engines: dict[str, Change]
) -> None:
    engines["torch"] = lambda _texts, vectors: vectors * np.inf

    with pytest.raises(VecmillError, match="torch fp32 gives vectors that are not finite"):
        check(ref)


def test_two_zero_vectors_agree_and_a_zero_with_another_does_not() -> None:
    zeros, ones = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)

    assert compare(zeros, zeros, "text").off == 0.0
    assert compare(zeros, zeros, "text").problem is None
    assert compare(ones, zeros, "text").off == 1.0
    assert compare(zeros, ones, "text").off == 1.0


def test_what_passed_is_recorded_and_not_made_again(
    ref: EmbedderRef, engines: dict[str, Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines["openvino"] = turned(1e-4)
    first = check(ref, owner="b1")
    monkeypatch.setattr(engine_choice, "take_reference", lambda _ref: pytest.fail("made again"))

    assert check(ref) == first
    [record] = Path(ref.exports).rglob("*.json")
    assert record.name.startswith("check-openvino-bf16-")
    assert '"one_minus_cos": 0.0001' in record.read_text()
    assert '"machine"' in record.read_text()
    assert '"openvino": "' in record.read_text()


def test_another_version_of_a_library_is_checked_again(
    ref: EmbedderRef, engines: dict[str, Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines["openvino"] = as_it_is
    check(ref)
    monkeypatch.setattr("tasks.embedders.engine_records.version", lambda package: "9.9")
    engines["openvino"] = turned(1e-3)

    with pytest.raises(UsageError, match=r"up to 0\.001"):
        check(ref)


def test_the_reference_is_not_checked_against_itself(ref: EmbedderRef) -> None:
    trial, reference = check(replace(ref, engine="torch", precision="fp32"))

    assert (trial.off, reference) == (0.0, {})
    assert list(Path(ref.exports).rglob("*")) == []


def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    ref: EmbedderRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "installed", lambda engine: engine == "torch")

    with pytest.raises(MissingExtraError, match=r"'openvino'.*pip install 'vecmill\[openvino\]'"):
        check(ref)


@pytest.mark.parametrize("kind", ["timm", "open-clip"])
def test_pictures_and_texts_of_real_models_pass_in_bf16(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    folder = request.getfixturevalue({"timm": "tiny_timm", "open-clip": "tiny_clip"}[kind])
    ref = resolve(EmbedderSpec(kind=kind, model=str(folder), precision="bf16", engine="torch"), ())
    trial, _ = check(replace(ref, exports=str(tmp_path)))

    assert trial.off is not None
    assert 0 < trial.off < THRESHOLD
    assert set(trial.seconds) == set(ref.kinds)
