"""The fingerprint names the embedding space: what makes the vectors, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.spec import EmbedderSpec
from tasks.embedders.resolve import resolve

Edit = Callable[[Path, dict[str, Any]], None]


def fingerprint(folder: Path | str, kind: str = "sentence-transformers", **options: Any) -> str:
    return resolve(EmbedderSpec(kind=kind, model=str(folder), **options), ()).fingerprint


def test_a_renamed_copy_with_another_readme_is_the_same_space(
    minilm: str, copy_of: Callable[..., Path]
) -> None:
    copy = copy_of(minilm, "my-own-name")
    (copy / "README.md").write_text("# quite another text")
    (copy / "notes.txt").write_text("not of the model")

    assert fingerprint(copy) == fingerprint(minilm)


def test_the_real_model_has_this_fingerprint_until_the_format_changes(minilm: str) -> None:
    assert fingerprint(minilm) == "d49c9942d5aa0ec417bd4034895c4f05"


def test_one_weight_of_ninety_megabytes_makes_another_space(
    minilm: str, copy_of: Callable[..., Path], edit_weight: Callable[[Path], None]
) -> None:
    copy = copy_of(minilm)
    edit_weight(copy / "model.safetensors")

    assert fingerprint(copy) != fingerprint(minilm)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "passage: "},
        {"query_prompt": "query: "},
        {"normalize": False},
        {"dimensions": 4},
    ],
    ids=["document prompt", "query prompt", "normalisation", "dimensions"],
)
def test_what_the_spec_says_of_the_vectors_counts(
    tiny_sentences: Path, options: dict[str, Any]
) -> None:
    assert fingerprint(tiny_sentences, **options) != fingerprint(tiny_sentences)


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"engine": "torch"}], ids=str)
def test_how_the_vectors_are_computed_does_not_count(
    tiny_sentences: Path, options: dict[str, Any]
) -> None:
    assert fingerprint(tiny_sentences, **options) == fingerprint(tiny_sentences)


def test_a_prompt_written_out_is_the_models_own(tiny_sentences: Path) -> None:
    written = fingerprint(tiny_sentences, prompt="passage : ", query_prompt="query : ")

    assert written == fingerprint(tiny_sentences)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("sentence_bert_config.json", {"max_seq_length": 8}),
        ("config.json", {"hidden_act": "relu"}),
        ("tokenizer.json", {"normalizer": None}),
        ("2_Dense/config.json", {"activation_function": "torch.nn.modules.linear.Identity"}),
        ("config_sentence_transformers.json", {"prompts.passage": "text : "}),
    ],
    ids=["pooling", "maximum length", "architecture", "tokenizer", "head", "the model's prompt"],
)
def test_each_part_of_a_text_model_counts(
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_json: Edit,
    file: str,
    changes: dict[str, Any],
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / file, changes)

    assert fingerprint(copy) != fingerprint(tiny_sentences)


@pytest.mark.parametrize("file", ["model.safetensors", "2_Dense/model.safetensors"])
def test_each_weight_of_a_text_model_counts(
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_weight: Callable[[Path], None],
    file: str,
) -> None:
    copy = copy_of(tiny_sentences)
    edit_weight(copy / file)

    assert fingerprint(copy) != fingerprint(tiny_sentences)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"_name_or_path": "elsewhere", "transformers_version": "9.9"}),
        ("config.json", {"dtype": "float16"}),
        ("tokenizer_config.json", {"name_or_path": "elsewhere"}),
        ("config_sentence_transformers.json", {"similarity_fn_name": "dot"}),
    ],
    ids=["provenance", "stored precision", "the tokenizer's provenance", "similarity"],
)
def test_where_a_model_comes_from_does_not_count(
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_json: Edit,
    file: str,
    changes: dict[str, Any],
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / file, changes)

    assert fingerprint(copy) == fingerprint(tiny_sentences)


def test_how_tensors_are_spread_over_files_does_not_count(
    tiny_sentences: Path, copy_of: Callable[..., Path]
) -> None:
    from safetensors.numpy import load_file, save_file

    copy = copy_of(tiny_sentences)
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"one.safetensors": names[:5], "two.safetensors": names[5:]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, copy / file)
    weight_map = {name: file for file, held in shards.items() for name in held}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    assert fingerprint(copy) == fingerprint(tiny_sentences)


@pytest.mark.parametrize(
    "changes",
    [
        {"preprocess_cfg.mean": [0.4, 0.5, 0.5]},
        {"preprocess_cfg.resize_mode": "shortest"},
        {"preprocess_cfg.interpolation": "bilinear"},
        {"model_cfg.text_cfg.context_length": 11},
        {"model_cfg.quick_gelu": True},
    ],
    ids=["mean", "resizing", "interpolation", "context length", "activation"],
)
def test_each_part_of_an_open_clip_model_counts(
    tiny_clip: Path, copy_of: Callable[..., Path], edit_json: Edit, changes: dict[str, Any]
) -> None:
    copy = copy_of(tiny_clip)
    edit_json(copy / "open_clip_config.json", changes)

    assert fingerprint(copy, "open-clip") != fingerprint(tiny_clip, "open-clip")


def test_a_weight_and_the_tokenizer_of_an_open_clip_model_count_and_its_name_does_not(
    tiny_clip: Path,
    copy_of: Callable[..., Path],
    edit_json: Edit,
    edit_weight: Callable[[Path], None],
) -> None:
    before = fingerprint(tiny_clip, "open-clip")
    renamed, heavier, wordier = (copy_of(tiny_clip, name) for name in ("renamed", "w", "t"))
    edit_json(renamed / "open_clip_config.json", {"model_cfg.text_cfg.hf_tokenizer_name": "x/y"})
    edit_weight(heavier / "open_clip_model.safetensors")
    edit_json(wordier / "tokenizer.json", {"normalizer": None})

    assert fingerprint(renamed, "open-clip") == before
    assert len({before, fingerprint(heavier, "open-clip"), fingerprint(wordier, "open-clip")}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"pretrained_cfg.crop_pct": 1.0},
        {"pretrained_cfg.std": [0.2, 0.2, 0.2]},
        {"pretrained_cfg.interpolation": "bilinear"},
        {"pretrained_cfg.input_size": [3, 48, 48]},
        {"global_pool": "max"},
    ],
    ids=["crop", "standard deviation", "interpolation", "size", "pooling"],
)
def test_each_part_of_a_timm_model_counts(
    tiny_timm: Path, copy_of: Callable[..., Path], edit_json: Edit, changes: dict[str, Any]
) -> None:
    copy = copy_of(tiny_timm)
    edit_json(copy / "config.json", changes)

    assert fingerprint(copy, "timm") != fingerprint(tiny_timm, "timm")


def test_a_weight_of_a_timm_model_counts_and_its_licence_does_not(
    tiny_timm: Path,
    copy_of: Callable[..., Path],
    edit_json: Edit,
    edit_weight: Callable[[Path], None],
) -> None:
    licensed, heavier = copy_of(tiny_timm, "licensed"), copy_of(tiny_timm, "heavier")
    edit_json(licensed / "config.json", {"pretrained_cfg.license": "mit"})
    edit_weight(heavier / "model.safetensors")

    assert fingerprint(licensed, "timm") == fingerprint(tiny_timm, "timm")
    assert fingerprint(heavier, "timm") != fingerprint(tiny_timm, "timm")
