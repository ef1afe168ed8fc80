"""Text from documents on one line, harmless to a terminal."""

from __future__ import annotations

import pytest

from tasks.query.snippet import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("a\n\n  b\tc ", "a b c", id="blanks are folded"),
        pytest.param("red \x1b[31mtext\x07", "red [31mtext", id="terminal escapes go"),
        pytest.param("abc\u202edef", "abc def", id="no turned writing direction"),
        pytest.param(None, "", id="null"),
        pytest.param("héllo ✓ 日本", "héllo ✓ 日本", id="other scripts stay"),
    ],
)
def test_one_line(text, line):
    assert one_line(text) == line


def test_long_text_is_cut_at_the_width():
    cut = one_line("word " * 1000, 20)
    assert len(cut) <= 20
    assert cut.endswith("…")
