"""Linear layers that oneDNN has laid out: the same numbers, and no second copy of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from tasks.embedders.prepacked import PrepackedLinear, prepack

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN"
)


class FeedForward(nn.Module):
    """As BERT has it."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.dense = nn.Linear(24, 40)
        self.intermediate_act_fn = activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.intermediate_act_fn(self.dense(inputs))


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(
    ("kind", "apart"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=["fp32", "bf16"]
)
def test_a_layer_gives_the_same_for_any_number_of_rows(
    rows: int, bias: bool, kind: torch.dtype, apart: float
) -> None:
    torch.manual_seed(rows)
    model = nn.Sequential(nn.Linear(24, 40, bias=bias)).to(kind)
    inputs = torch.randn(1, rows, 24, dtype=kind)
    with torch.inference_mode():
        expected = model(inputs)
        assert prepack(model)
        found = model(inputs)

    assert isinstance(model[0], PrepackedLinear)
    assert (found.dtype, found.shape) == (kind, (1, rows, 40))
    torch.testing.assert_close(found, expected, atol=apart, rtol=apart)
    assert not list(model.parameters())


ACTIVATIONS = [("gelu", True), ("gelu_python", False), ("gelu_new", False), ("relu", False)]


@pytest.mark.parametrize(("name", "fused"), ACTIVATIONS, ids=[name for name, _ in ACTIVATIONS])
def test_only_the_exact_gelu_is_fused(name: str, fused: bool) -> None:
    torch.manual_seed(0)
    model = FeedForward(ACT2FN[name])
    inputs = 3 * torch.randn(5, 24)
    with torch.inference_mode():
        expected = model(inputs)
        assert prepack(model)
        torch.testing.assert_close(model(inputs), expected, atol=1e-5, rtol=1e-5)

    assert isinstance(model.intermediate_act_fn, nn.Identity) == fused


def test_layers_of_a_class_of_their_own_stay() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    model = nn.Sequential(nn.Linear(4, 4), Doubled(4, 4))
    assert prepack(model)
    assert [type(layer) for layer in model] == [PrepackedLinear, Doubled]


def test_a_model_stays_as_it_is_where_torch_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: PrepackedLinear, linear: nn.Linear, gelu: bool = False) -> None:
        raise RuntimeError("no instructions for that")

    monkeypatch.setattr(PrepackedLinear, "__init__", refuse)
    model = FeedForward(ACT2FN["gelu"])
    assert not prepack(model)
    assert type(model.dense) is nn.Linear
    assert not prepack(nn.Sequential(nn.Identity()))
