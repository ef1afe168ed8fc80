"""Companions are merged while others write into them."""

from __future__ import annotations

from datetime import timedelta

import lance
import pytest

from tasks.table import cleanup
from tasks.table.cleanup import clean_companion
from tasks.table.companions import current_hold, read_events, release_hold, set_hold
from tasks.table.dataset import TableRef


@pytest.fixture
def ref(tmp_path) -> TableRef:
    """A space whose log has forty decisions; the last one is a release."""
    ref = TableRef(str(tmp_path), "notes")
    for turn in range(20):
        set_hold(ref, f"reason {turn}", "ada")
        release_hold(ref, f"reason {turn}", "ada")
    return ref


def test_a_hold_that_is_set_while_the_log_is_merged_stays_the_last_word(ref, monkeypatch):
    real = cleanup.merge_in_order

    def late(log, dataset):
        set_hold(ref, "now", "bob")  # after the log was opened
        real(log, dataset)

    monkeypatch.setattr(cleanup, "merge_in_order", late)
    before = read_events(ref, "hold", "release-hold")
    clean_companion(ref.companion("builds"), timedelta(0), ordered=True)
    events = read_events(ref, "hold", "release-hold")
    assert events[:-1] == before
    assert events[-1]["reason"] == "now"
    assert current_hold(ref).who == "bob"
    assert len(lance.dataset(ref.companion("builds").path).get_fragments()) == 2


def test_two_who_merge_at_once_double_nothing(ref):
    log = ref.companion("builds")
    before = read_events(ref, "hold", "release-hold")
    stale = lance.dataset(log.path)
    clean_companion(log, timedelta(hours=1), ordered=True)
    with pytest.raises(OSError, match="conflict"):
        cleanup.merge_in_order(log, stale)
    assert read_events(ref, "hold", "release-hold") == before
    set_hold(ref, "afterwards", "bob")
    assert current_hold(ref).reason == "afterwards"
