"""Unpadded batches: texts one after the other in a single row, each attending to itself alone.

    texts ─ [1, T] ids, positions from 0 in each text, where each begins ─ model ─ pooling by text

Nothing is computed for padding, and no mask is built or read. transformers calls the attention
function registered here with the layout; on CUDA one variable-length kernel takes the whole row
(float16 and bfloat16 only), on a CPU texts of one length go through the ordinary attention
together: 1.05 to 1.1 times as fast there as padding with a mask (all-MiniLM-L6-v2, sorted texts).

Only model types listed below are packed, those whose positions can be given; whether a loaded
model then gives the vectors of the padded way is tried out before it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tasks.embedders.tokens import Tokens

ATTENTION = "vecmill_packed"
"""The name of the attention function with transformers. It has no mask function, and needs none."""

POSITIONS_FROM_ZERO = frozenset(
    {
        "bert",
        "distilbert",
        "electra",
        "modernbert",
        "albert",
        "nomic_bert",
        "eurobert",
        "gte",
        "qwen3",
    }
)
POSITIONS_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "camembert"})
"""Model types whose positions are given, and begin at 0 or behind the padding token's id."""

LAYOUT = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
"""What names the texts in a row: transformers' names, which the library's pooling knows too."""

PACKED_HALF = frozenset({torch.float16, torch.bfloat16})
"""What the variable-length kernels take."""


def can_pack(model: nn.Module, dtype: torch.dtype, where: torch.device) -> bool:
    """Whether packing is worth a try for that transformers model on that device."""
    config = getattr(model, "config", None)
    known = POSITIONS_FROM_ZERO | POSITIONS_AFTER_PADDING
    if getattr(config, "model_type", None) not in known or where.type not in ("cpu", "cuda"):
        return False
    return where.type == "cpu" or (dtype in PACKED_HALF and _varlen() is not None)


def first_position(model: nn.Module) -> int:
    """The position of a text's first token."""
    config: Any = model.config
    return config.pad_token_id + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0


def layout(tokens: Tokens, rows: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    """A batch as one int32 array, and the length of its longest text.

    The array holds, one after the other, for each token its id, its position and its text's number
    in the batch, and then where each text begins and the last ends (`[3 · T + n + 1]`).
    """
    ids, starts = tokens.ragged(rows)
    lengths = tokens.lengths[rows]
    positions = np.arange(len(ids)) - np.repeat(starts, lengths) + first
    numbers = np.repeat(np.arange(len(rows)), lengths)
    flat = np.concatenate([ids, positions, numbers, starts, [len(ids)]], dtype=np.int32)
    return flat, int(lengths.max(initial=1))


def features(flat: torch.Tensor, texts: int, longest: int) -> dict[str, Any]:
    """What the library's modules take for a batch from `layout`, on the device of `flat`."""
    total = (len(flat) - texts - 1) // 3
    ids, positions, numbers, ends = flat.split([total, total, total, texts + 1])
    return {
        "input_ids": ids[None],
        "position_ids": positions[None].long(),  # some models index with them
        "seq_idx": numbers[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    position_bias: torch.Tensor | None = None,
    softcap: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention inside each text of a row: `[1, heads, T, d]` each to `[1, T, heads, d]`.

    `sliding_window` counts as transformers does: a token sees those less than so many places away.
    Raises `ValueError` for what cannot be computed so.
    """
    if attention_mask is not None or position_bias is not None or softcap is not None:
        raise ValueError("packed attention takes no mask, no bias and no softcap")
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    row = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]  # [T, heads, d]
    if query.device.type == "cuda":
        out = _varlen_attention(row, cu_seq_lens_q, max_length_q, scaling, sliding_window, causal)
    else:
        out = _grouped_attention(row, cu_seq_lens_q.tolist(), scaling, sliding_window, causal)
    return out[None], None


AttentionInterface.register(ATTENTION, packed_attention)


def _grouped_attention(
    row: list[torch.Tensor],
    ends: list[int],
    scaling: float | None,
    window: int | None,
    causal: bool,
) -> torch.Tensor:
    """Neighbours of one length together, without padding and without a mask."""
    query = row[0]
    out = torch.empty_like(query)
    heads_differ = row[1].shape[1] != query.shape[1]
    for start, texts, length in _same_length(ends):
        part = slice(start, start + texts * length)
        several = [tensor[part].unflatten(0, (texts, length)).transpose(1, 2) for tensor in row]
        mask = _band(length, window, causal, query.device) if window and window < length else None
        attended = scaled_dot_product_attention(
            *several,
            attn_mask=mask,
            scale=scaling,
            is_causal=causal and mask is None,
            enable_gqa=heads_differ,
        )
        out[part].unflatten(0, (texts, length)).copy_(attended.transpose(1, 2))
    return out


def _same_length(ends: list[int]) -> Iterator[tuple[int, int, int]]:
    """(first token, texts, length) of each run of neighbours that are equally long."""
    first, texts, length = 0, 0, ends[1] - ends[0] if len(ends) > 1 else 0
    for start, end in pairwise(ends):
        if end - start != length:
            yield first, texts, length
            first, texts, length = start, 0, end - start
        texts += 1
    if texts:
        yield first, texts, length


def _band(length: int, window: int, causal: bool, where: torch.device) -> torch.Tensor:
    """Which token sees which where each sees those less than `window` places away: `[L, L]`."""
    places = torch.arange(length, device=where)
    apart = places[:, None] - places
    return (apart.abs() < window) & ((apart >= 0) | (not causal))


def _varlen_attention(
    row: list[torch.Tensor],
    ends: torch.Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
    causal: bool,
) -> torch.Tensor:
    """The whole row in one kernel.

    Options that this torch's function lacks are only given where they are needed: then it raises
    `TypeError`, and the model is not packed.
    """
    query, key, value = row
    if key.shape[1] != query.shape[1]:
        times = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(times, dim=1) for tensor in (key, value))
    known = _varlen()
    if known is None:
        raise ValueError("this torch has no variable-length attention")
    varlen, options = known
    given: dict[str, object] = {}
    if scaling is not None and not np.isclose(scaling, query.shape[-1] ** -0.5):
        given["scale"] = scaling
    seen = window - 1 if window else -1
    if "window_size" in options:
        given["window_size"] = (seen, 0 if causal else seen)
    elif window:
        given["window_size"] = (seen, seen)  # refused by name
    else:
        given["is_causal"] = causal
    return varlen(query, key, value, ends, ends, longest, longest, **given)


@cache
def _varlen() -> tuple | None:
    """torch's variable-length attention and the names of its options; None before torch 2.10."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)
