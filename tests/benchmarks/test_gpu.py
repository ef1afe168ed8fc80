"""The GPU's benchmark: its texts, what it prints, and that it runs on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import gpu
import pytest
from gpu import Rate, answer, exit_code, line
from gpu_models import SIZES, make_texts, write_model

RATE = Rate("minilm", 64, "bf16", 1_000.0, 512, 960.0, 32_768, 0.97)


@pytest.fixture(scope="module")
def tokenizer(minilm) -> Path:
    return Path(minilm) / "tokenizer.json"


@pytest.mark.parametrize("length", [16, 64])
def test_a_text_has_exactly_so_many_tokens(tokenizer, length) -> None:
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(str(tokenizer))
    theirs.no_padding()
    theirs.no_truncation()
    texts = make_texts(tokenizer, length, 50)

    assert {len(theirs.encode(text).ids) for text in texts} == {length}
    assert len(set(texts)) == 50
    assert texts == make_texts(tokenizer, length, 50)


def test_the_model_is_one_that_vecmill_takes(tokenizer, tmp_path) -> None:
    from schemas.spec import EmbedderSpec
    from tasks.embedders.resolve import resolve

    folder = write_model(tmp_path / "tiny", SIZES["tiny"], tokenizer)
    ref = resolve(EmbedderSpec(kind="sentence-transformers", model=str(folder)), ("text",))

    assert ref.dimensions == SIZES["tiny"].hidden


def test_a_share_below_the_target_is_a_failure_on_a_gpu_alone() -> None:
    slow = Rate("base", 256, "bf16", 1_000.0, 512, 940.0, 32_768, None)

    assert exit_code([RATE], "cuda") == 0
    assert exit_code([RATE, slow], "cuda") == 1
    assert exit_code([RATE, slow], "cpu") == 0


def test_what_is_printed_names_share_length_and_busy_time() -> None:
    assert "64 tokens" in line(RATE)
    assert "96.0% · GPU busy 97%" in line(RATE)
    assert "GPU busy not measured" in line(Rate("b", 1, "fp32", 2.0, 1, 1.0, 1, None))
    [rate] = answer([RATE], "a device")["rates"]
    assert (rate["share"], rate["tokens"], rate["gpu_busy"]) == (0.96, 64, 0.97)


def test_it_runs_on_a_cpu(tokenizer, capsys, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.main(["--device", "cpu", "--quick", "--tokenizer", str(tokenizer)]) == 0

    *lines, last = capsys.readouterr().out.splitlines()
    printed = json.loads(last)
    assert len(lines) == len(printed["rates"]) == 2
    assert printed["device"] == "cpu"
    assert all(rate["whole"] > 0 and rate["ceiling"] > 0 for rate in printed["rates"])
    assert [rate["gpu_busy"] for rate in printed["rates"]] == [None, None]
