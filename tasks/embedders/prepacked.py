"""Linear layers of a CPU whose weights oneDNN has laid out once, instead of again in every call.

torch gives a float32 linear layer on x86 to MKL, which reaches 82 GFLOP/s a core on an AMD EPYC;
oneDNN reaches 170 there with the same result to 3e-7 (all-MiniLM-L6-v2 2.1 times as fast), and is
never slower in bf16. Where a GELU follows, it is computed on the tile that is still in the cache:
another tenth of the time in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

TOLERANCE = 1e-5
"""1 − cosine of a vector before and after: bf16 sums in another order make 1e-7 of it."""

OPERATORS = ("_linear_pointwise", "_reorder_linear_weight")
"""torch's own, which its compiler uses too; a build without oneDNN has none."""


class PrepackedLinear(nn.Module):
    """`linear`, and the exact GELU after it where `gelu`; for inference alone."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._after = ("gelu", "none") if gelu else ("none", "")

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`[..., in]` to `[..., out]`, of the weight's type."""
        name, algorithm = self._after
        return torch.ops.mkldnn._linear_pointwise(
            inputs, self._weight, self._bias, name, [], algorithm
        )


def prepack(model: nn.Module) -> bool:
    """Replace the linear layers of a CPU model in place; False where this torch cannot.

    The weights move: the model keeps no second copy of them, and cannot be trained or saved.
    """
    linear = next((module for module in model.modules() if type(module) is nn.Linear), None)
    if linear is None or not _possible(linear):
        return False
    for module in list(model.modules()):
        _fuse_gelu(module)
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PrepackedLinear(child))
    return True


def _possible(linear: nn.Linear) -> bool:
    """Whether this build of torch, and this CPU, take a layer of that number format."""
    known = all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)
    if not known or not torch.backends.mkldnn.is_available():
        return False
    try:
        PrepackedLinear(linear)
    except RuntimeError:  # a CPU without bf16 or fp16 instructions: torch has its own ways there
        return False
    return True


def prepack_proven(
    model: nn.Module, probe: Callable[[], torch.Tensor], tolerance: float = TOLERANCE
) -> bool:
    """`prepack`, undone where `probe` then raises or gives other vectors `[n, d]`: False.

    Some models read the weights of their layers themselves, which a prepacked layer has no more: T5
    its number format. Both forms of the weights are in memory until that is known.
    """
    children = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
    ]
    expected = probe()
    try:
        if prepack(model) and _alike(probe(), expected, tolerance):
            return True
    except (AttributeError, TypeError, RuntimeError):
        pass  # what torch and models raise for a layer that is not what they expect
    for parent, name, child in children:
        setattr(parent, name, child)
    return False


def _alike(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    cosine = nn.functional.cosine_similarity(found.double(), expected.double(), dim=1)
    return bool((1 - cosine <= tolerance).all())


def _fuse_gelu(module: nn.Module) -> None:
    """The feed-forward layer as BERT and its kin have it: a linear layer, then an activation."""
    dense, activation = (getattr(module, name, None) for name in ("dense", "intermediate_act_fn"))
    if activation is None:
        return
    from transformers.activations import GELUActivation

    exact = type(activation) in (GELUActivation, nn.GELU) and _is_exact(activation)
    if type(dense) is nn.Linear and exact:
        module.dense = PrepackedLinear(dense, gelu=True)
        module.intermediate_act_fn = nn.Identity()


def _is_exact(activation: nn.Module | None) -> bool:
    """Whether it is the GELU of the error function, not one of its approximations."""
    if isinstance(activation, nn.GELU):
        return activation.approximate == "none"
    return getattr(activation, "act", None) is nn.functional.gelu
