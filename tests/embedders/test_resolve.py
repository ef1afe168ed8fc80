"""Resolving finds and describes a model without loading it, and refuses what is not safe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from schemas.spec import EmbedderSpec
from tasks.embedders.resolve import resolve

Edit = Callable[[Path, dict[str, Any]], None]


def resolved(
    folder: Path | str, kind: str = "sentence-transformers", **options: Any
) -> EmbedderRef:
    return resolve(EmbedderSpec(kind=kind, model=str(folder), **options), ())


def test_a_reference_says_all_that_another_process_needs(minilm: str) -> None:
    ref = resolve(EmbedderSpec(kind="sentence-transformers", model=minilm), {"text"})

    assert (ref.dimensions, ref.window, ref.config["max_length"]) == (384, 254, 256)
    assert (ref.engine, ref.precision, ref.normalize) == ("auto", "auto", True)
    assert not ref.decided
    assert ref.kinds == {"text"}
    assert ref.tokenizer == str(Path(minilm).resolve() / "tokenizer.json")
    assert ref.plain.decided
    assert ref.plain.vector_key == f"{ref.fingerprint}-torch-fp32"


def test_a_static_model_has_nothing_to_choose(shared: Path) -> None:
    static = shared / "models/potion-4m-fp16"

    assert (resolved(static).engine, resolved(static).precision) == ("torch", "fp32")
    assert resolved(static, precision="bf16").precision == "bf16"
    with pytest.raises(UsageError, match=r"engine 'onnx'.*static model.*expected auto or torch"):
        resolved(static, engine="onnx")


def test_resolving_imports_neither_torch_nor_the_models_libraries(minilm: str) -> None:
    program = (
        "import sys\n"
        "from schemas.spec import EmbedderSpec\n"
        "from tasks.embedders.resolve import resolve\n"
        "resolve(EmbedderSpec(kind='sentence-transformers', model=sys.argv[1]), {'text'})\n"
        "heavy = ('torch', 'transformers', 'sentence_transformers', 'open_clip', 'timm')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, minilm], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_models_own_prompts_are_taken_unless_the_spec_says_otherwise(
    tiny_sentences: Path,
) -> None:
    own = resolved(tiny_sentences)
    given = resolved(tiny_sentences, prompt="", query_prompt="the ")

    assert (own.prompt, own.query_prompt) == ("passage : ", "query : ")
    assert (given.prompt, given.query_prompt) == ("", "the ")


def test_the_window_is_what_special_and_prompt_tokens_leave(tiny_sentences: Path) -> None:
    # 16 tokens, less [CLS] and [SEP], less "passage" and ":".
    assert resolved(tiny_sentences).window == 12
    assert resolved(tiny_sentences, prompt="").window == 14


def test_a_plain_transformer_gets_mean_pooling_and_its_own_limits(tiny_transformer: Path) -> None:
    ref = resolved(tiny_transformer)

    assert (ref.dimensions, ref.config["max_length"], ref.prompt) == (16, 32, "")


def test_the_kinds_of_model_say_what_they_embed(
    tiny_clip: Path, tiny_timm: Path, shared: Path
) -> None:
    clip, timm = resolved(tiny_clip, "open-clip"), resolved(tiny_timm, "timm")
    static = resolved(shared / "models/potion-4m-fp16")

    assert (clip.kinds, clip.dimensions, clip.window) == ({"text", "image"}, 8, 10)
    assert (timm.kinds, timm.dimensions, timm.window) == ({"image"}, 512, None)
    assert (static.kinds, static.dimensions, static.window) == ({"text"}, 128, 2**31 - 1)


def test_a_text_model_refuses_an_image_source(minilm: str) -> None:
    spec = EmbedderSpec(kind="sentence-transformers", model=minilm)

    with pytest.raises(UsageError, match=r"embeds text alone.*image sources.*open-clip"):
        resolve(spec, {"text", "image"})


def test_an_image_model_refuses_a_text_source(tiny_timm: Path) -> None:
    spec = EmbedderSpec(kind="timm", model=str(tiny_timm))

    with pytest.raises(UsageError, match=r"embeds image alone.*text sources.*open-clip"):
        resolve(spec, {"text"})


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickled_weights_are_refused_with_the_way_to_convert(
    tiny_sentences: Path, copy_of: Callable[..., Path], file: str
) -> None:
    copy = copy_of(tiny_sentences)
    (copy / "model.safetensors").rename(copy / file)

    with pytest.raises(UsageError, match=rf"only as {file}.*safetensors only.*save_pretrained"):
        resolved(copy)


def test_pickled_weights_of_a_head_are_refused_too(
    tiny_sentences: Path, copy_of: Callable[..., Path]
) -> None:
    copy = copy_of(tiny_sentences)
    (copy / "2_Dense/model.safetensors").rename(copy / "2_Dense/pytorch_model.bin")

    with pytest.raises(UsageError, match=r"2_Dense has its weights only as pytorch_model\.bin"):
        resolved(copy)


@pytest.mark.parametrize(
    ("kind", "weights"),
    [("open-clip", "open_clip_model.safetensors"), ("timm", "model.safetensors")],
)
def test_pickled_weights_of_image_models_are_refused(
    request: pytest.FixtureRequest, copy_of: Callable[..., Path], kind: str, weights: str
) -> None:
    folder = request.getfixturevalue({"open-clip": "tiny_clip", "timm": "tiny_timm"}[kind])
    copy = copy_of(folder)
    (copy / weights).rename(copy / "pytorch_model.bin")

    with pytest.raises(UsageError, match=r"only as pytorch_model\.bin"):
        resolved(copy, kind)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_is_refused(
    tiny_sentences: Path, copy_of: Callable[..., Path], edit_json: Edit, file: str
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / file, {"auto_map": {"AutoModel": "modeling.Mine"}})

    with pytest.raises(UsageError, match=r"never runs such code \(trust_remote_code is off\)"):
        resolved(copy)


def test_modules_and_activations_of_a_models_own_are_refused(
    tiny_sentences: Path, copy_of: Callable[..., Path], edit_json: Edit
) -> None:
    modules, activation, path = (copy_of(tiny_sentences, name) for name in "mac")
    listed = json.loads((modules / "modules.json").read_text())
    listed[1]["type"] = "custom_pooling.Pooling"
    (modules / "modules.json").write_text(json.dumps(listed))
    edit_json(activation / "2_Dense/config.json", {"activation_function": "os.system"})
    listed[1]["type"], listed[1]["path"] = "sentence_transformers.models.Pooling", "../../etc"
    (path / "modules.json").write_text(json.dumps(listed))

    with pytest.raises(UsageError, match=r"custom_pooling\.Pooling.*never runs"):
        resolved(modules)
    with pytest.raises(UsageError, match=r"os\.system.*never runs"):
        resolved(activation)
    with pytest.raises(UsageError, match=r"'../../etc' leaves the folder"):
        resolved(path)


def test_a_cut_weights_file_is_refused(tiny_timm: Path, copy_of: Callable[..., Path]) -> None:
    weights = copy_of(tiny_timm) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    with pytest.raises(UsageError, match=r"not a whole safetensors file.*Fetch it again"):
        resolved(weights.parent, "timm")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sentence-transformers", "neither modules.json nor config.json"),
        ("open-clip", "no open_clip_config.json"),
        ("timm", "no 'architecture'"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(tmp_path, kind)


def test_a_folder_whose_files_do_not_fit_is_refused(
    tiny_sentences: Path, copy_of: Callable[..., Path]
) -> None:
    copy = copy_of(tiny_sentences)
    (copy / "2_Dense/config.json").write_text("{}")

    with pytest.raises(UsageError, match=r"do not fit together.*'out_features'.*Fetch it again"):
        resolved(copy)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"'{tmp_path}/gone' is neither a folder"):
        resolved(tmp_path / "gone")


def test_a_hub_model_that_is_not_cached_is_named_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(UsageError, match=r"'owner/model' \(revision v2\).*download it once"):
        resolved("owner/model", revision="v2")


def test_a_cached_hub_model_resolves_offline_to_its_commit(
    tiny_sentences: Path, monkeypatch: pytest.MonkeyPatch, copy_of: Callable[..., Path]
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = copy_of(tiny_sentences, commit)
    asked: dict[str, Any] = {}

    def snapshot_download(hub_id: str, **options: Any) -> str:
        asked.update(options, hub_id=hub_id)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    ref = resolved("tiny", prompt="", query_prompt="")

    assert asked["hub_id"] == "sentence-transformers/tiny"
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])
    assert (ref.hub_id, ref.revision) == ("sentence-transformers/tiny", commit)
    assert resolved("tiny").hub_id is None, "LanceDB would leave the prompts out"


@pytest.mark.parametrize("dimensions", [9, 1000])
def test_more_dimensions_than_the_model_has_are_refused(
    tiny_sentences: Path, dimensions: int
) -> None:
    with pytest.raises(UsageError, match=f"dimensions {dimensions}: the model has 8"):
        resolved(tiny_sentences, dimensions=dimensions)


def test_a_prompt_that_fills_the_window_is_refused(tiny_sentences: Path) -> None:
    with pytest.raises(UsageError, match="leaves no room"):
        resolved(tiny_sentences, prompt="the cat " * 8)
