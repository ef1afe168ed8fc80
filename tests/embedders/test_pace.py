"""Which embedders get large shards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from schemas.spec import EmbedderSpec
from tasks.embedders.description import UNBOUNDED
from tasks.embedders.pace import is_quick
from tasks.embedders.resolve import resolve


@pytest.fixture
def transformer(minilm):
    return resolve(
        EmbedderSpec(
            kind="sentence-transformers", model=str(minilm), engine="torch", precision="fp32"
        ),
        frozenset({"text"}),
    )


def test_a_transformer_is_quick_on_an_accelerator_alone(transformer, monkeypatch):
    monkeypatch.setattr("tasks.embedders.torch_device.device", lambda: torch.device("cpu"))
    assert not is_quick(transformer)
    monkeypatch.setattr("tasks.embedders.torch_device.device", lambda: torch.device("cuda"))
    assert is_quick(transformer)


def test_another_engine_computes_on_the_cpu(transformer, monkeypatch):
    monkeypatch.setattr("tasks.embedders.torch_device.device", lambda: torch.device("cuda"))
    assert not is_quick(replace(transformer, engine="openvino"))


def test_a_static_model_is_quick(transformer):
    assert is_quick(replace(transformer, window=UNBOUNDED))
