"""What `benchmarks/embed.py` counts: tokens as the model takes them, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from embed import operations, token_lengths


def test_tokens_are_counted_cut_and_with_special_ones(minilm):
    assert token_lengths(["a cat", "cat " * 500], minilm).tolist() == [4, 256]


def test_operations_of_minilm(minilm):
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert operations(np.array([10]), minilm) == pytest.approx(20 * weights + 6 * 4 * 384 * 100)
    apart = operations(np.array([10, 20]), minilm)
    together = operations(np.array([30]), minilm)
    assert apart < together  # texts do not attend to each other
