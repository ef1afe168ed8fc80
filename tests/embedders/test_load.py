"""A model is built once in a process, and only from the files that were fingerprinted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import UsageError, VecmillError
from schemas.refs import EmbedderRef
from schemas.spec import EmbedderSpec
from tasks.embedders import load as loading
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve


def test_eight_threads_get_one_model(tiny_timm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.embedders.timm_embedder as timm_embedder

    built: list[str] = []
    original = timm_embedder.load_timm

    def counted(ref: EmbedderRef) -> object:
        built.append(ref.folder)
        return original(ref)

    monkeypatch.setattr(timm_embedder, "load_timm", counted)
    monkeypatch.setattr(loading, "_loaded", {})
    ref = resolve(EmbedderSpec(kind="timm", model=str(tiny_timm)), {"image"})
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(load, [ref] * 16))

    assert len(built) == 1
    assert all(model is models[0] for model in models)


def test_files_that_changed_since_they_were_resolved_are_refused(
    tiny_timm: Path, copy_of: Callable[..., Path], edit_weight: Callable[[Path], None]
) -> None:
    copy = copy_of(tiny_timm)
    edit_weight(copy / "model.safetensors")
    ref = resolve(EmbedderSpec(kind="timm", model=str(copy)), {"image"})
    edit_weight(copy / "model.safetensors")

    with pytest.raises(VecmillError, match=rf"{ref.fingerprint} was expected.*Start the build"):
        load(ref)


@pytest.mark.parametrize(
    ("tensor", "refused"),
    [("encoder.layer.1.output.dense.weight", True), ("pooler.dense.weight", False)],
)
def test_a_weight_that_is_missing_is_not_drawn_at_random(
    tiny_sentences: Path, copy_of: Callable[..., Path], tensor: str, refused: bool
) -> None:
    from safetensors.numpy import load_file, save_file

    copy = copy_of(tiny_sentences)
    weights = load_file(copy / "model.safetensors")
    del weights[tensor]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    ref = resolve(EmbedderSpec(kind="sentence-transformers", model=str(copy)), {"text"})

    if refused:
        with pytest.raises(UsageError, match=rf"lacks 1 tensors.*{tensor}.*fetch the model"):
            load(ref)
    else:
        assert load(ref).embed_texts(["the cat"]).shape == (1, 8)


def test_a_reference_from_another_machine_finds_the_model_in_this_ones_cache(
    tiny_timm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(hub_id: str, revision: str | None = None, **_options: object) -> str:
        asked.append((hub_id, revision))
        return str(tiny_timm)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr(loading, "_loaded", {})
    ref = resolve(EmbedderSpec(kind="timm", model="owner/tiny"), {"image"})
    elsewhere = replace(ref, folder="/no/such/folder", revision="abc123")

    assert load(elsewhere).dimensions == 512
    assert asked == [("owner/tiny", None), ("owner/tiny", "abc123")]
