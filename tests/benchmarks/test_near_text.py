"""vecmill's near-duplicates are those that the made documents' truth names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from near_text_stage import find_marks, labels_of, write_records
from planted_text import by_definition, plant

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_what_is_marked_is_what_plain_sets_say_however_it_comes(tmp_path: Path) -> None:
    planted = plant(600, seed=11)
    truth = by_definition(planted, 0.7)
    whole, first, second = (tmp_path / f"{name}.parquet" for name in ("whole", "first", "second"))
    write_records(whole, planted.texts, 0)
    write_records(first, planted.texts[:540], 0)
    write_records(second, planted.texts[540:], 540)
    assert labels_of(find_marks([whole], tmp_path / "a", 0.7), 600).tolist() == truth.tolist()
    find_marks([first], tmp_path / "b", 0.7)
    grown = labels_of(find_marks([second, first], tmp_path / "b", 0.7), 600)
    assert grown.tolist() == truth.tolist()
    assert (truth != np.arange(600)).mean() > 0.3


@pytest.mark.slow
def test_the_judged_pairs_are_counted(shared: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / "near_text.py"), "--only", "mrpc", "--quick"]
    place = {**os.environ, "VECMILL_SHARED": str(shared)}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=place)
    found = json.loads(done.stdout.splitlines()[-1])["mrpc"]
    assert found["found_wrongly"] == [84, 540, 640, 847, 2015, 2849]
    assert found["together_below"] == []
