"""A build's engine: chosen once for a space, recorded, checked before use, never by a dry run."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest

import made_embedder
from flows.progress import StageBars
from flows.runner import PlainRunner
from made_words import sentence
from schemas.errors import MissingExtraError, UsageError
from tasks.embedders import engine_check, engine_choice
from tasks.embedders.tokens import Tokens


class AnyText(made_embedder.WordEmbedder):
    """The word model for any text; each engine may be off by so much, and takes so long."""

    off: dict[str, float]

    def tokenize(self, texts, *, query=False):
        known = len(self.words)
        ids = [[sum(map(ord, word)) % known for word in text.split()] for text in texts]
        return Tokens.from_lists(ids)

    def submit_tokens(self, tokens, rows):
        vectors = super().submit_tokens(tokens, rows)()
        off = self.off.get(f"{self.ref.engine} {self.ref.precision}", 0.0)
        other = np.roll(vectors, 1, axis=1)
        other -= (other * vectors).sum(1, keepdims=True) * vectors
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        angle = np.arccos(1 - off)
        turned = np.cos(angle) * vectors + np.sin(angle) * other
        return lambda: turned.astype(np.float32)


class Engines:
    """What the engines of this test do: how far each is off, and which were measured."""

    def __init__(self) -> None:
        self.off: dict[str, float] = {}
        self.fast = "openvino bf16"
        self.missing: set[str] = set()
        self.references = 0
        self.embedded_by: list[str] = []


@pytest.fixture
def engines(notes, monkeypatch):
    """The notes' model as one that engines differ in; none is really loaded."""
    made = Engines()

    def load(ref):
        embedder = AnyText(ref)
        embedder.off = made.off
        return embedder

    def load_in_shard(ref):
        made.embedded_by.append(f"{ref.engine} {ref.precision}")
        return load(ref)

    def take_reference(ref):
        made.references += 1
        taken = engine_check.take_reference(ref)
        return replace(taken, seconds={"text": 1.0})

    def try_engine(ref, reference):
        trial = engine_check.try_engine(ref, reference)
        seconds = 0.2 if trial.name == made.fast else 0.95
        return replace(trial, seconds={"text": seconds})

    monkeypatch.setattr("tasks.embedders.resolve._computed", lambda s, _: (s.engine, s.precision))
    monkeypatch.setattr(engine_check.loading, "load", load)
    monkeypatch.setattr("tasks.embed.embed_shard.load", load_in_shard)
    monkeypatch.setattr(engine_check, "RUN_SECONDS", 0.0)
    monkeypatch.setattr(engine_choice, "take_reference", take_reference)
    monkeypatch.setattr(engine_choice, "try_engine", try_engine)
    monkeypatch.setattr(engine_choice, "installed", lambda engine: engine not in made.missing)
    return made


def asks(notes, **options):
    model = {"kind": "sentence-transformers", "model": str(notes.model)}
    notes.changes["embedder"] = {**model, **options}


def used(outcome):
    made_by = outcome.manifest.embedder
    return f"{made_by.engine} {made_by.precision}"


def verdicts(outcome):
    return [audit for audit in outcome.manifest.audits if audit.name == "engine"]


def choices(notes):
    return sorted(path.name for path in (notes.folder / "work/engines").rglob("choice-*.json"))


def test_auto_is_measured_once_and_recorded_in_manifest_and_workdir(notes, engines):
    engines.off["openvino bf16"] = 3.3e-5
    first = notes.build()
    [verdict] = verdicts(first)

    assert used(first) == "openvino bf16"
    assert engines.embedded_by == ["openvino bf16"]
    assert choices(notes) == ["choice-auto-auto-text.json"]
    assert verdict.value == pytest.approx(3.3e-5, rel=0.1)
    assert (verdict.threshold, verdict.passed, verdict.severity) == (2e-4, True, "refuse")
    assert verdict.detail == (
        "openvino bf16: 5.0× torch fp32 on this machine; 1 − cos to torch fp32 over 64 fixed inputs"
    )
    assert engines.references == 1
    assert not list((notes.folder / "work").rglob("*auto-auto/*"))

    engines.fast = "torch bf16"  # it stays what it is
    notes.write({"new": sentence(1, 2, 3)})
    notes.source(max_shrink=1.0)
    second = notes.build()
    assert (used(second), engines.references) == ("openvino bf16", 1)
    assert verdicts(second) == [verdict]


def test_the_build_says_what_it_chose_and_what_it_left_out(notes, engines, capsys):
    engines.off |= {"openvino bf16": 3e-4, "onnx fp32": 1.0}
    engines.fast = "openvino bf16"
    outcome = notes.build(PlainRunner(StageBars("lines")))
    said = capsys.readouterr().err

    assert used(outcome) == "torch fp32", "nothing that passes is a tenth faster"
    assert "engine: torch fp32" in said
    assert "engine: not openvino bf16: 1 − cos to torch fp32 is up to 0.0003, at most" in said
    assert "engine: not onnx fp32: 1 − cos to torch fp32 is up to 1," in said


def test_a_dry_run_says_that_the_engine_is_to_be_chosen_and_writes_nothing(notes, engines):
    before = notes.files()
    dry = notes.build(dry_run=True)

    assert notes.files() == before
    assert dry.message.endswith(
        "; the engine is still to be chosen, by measuring. Nothing was written"
    )
    assert dry.manifest.counts.new == 30
    assert (used(dry), engines.references) == ("auto auto", 0)

    notes.build()
    again = notes.build(dry_run=True)
    assert (used(again), engines.references) == ("openvino bf16", 1)
    assert "to be chosen" not in again.message


def test_without_a_release_the_choice_in_the_workdir_holds(notes, engines):
    notes.build()
    shutil.rmtree(notes.folder / "db")
    engines.fast = "torch bf16"
    [choice] = (notes.folder / "work/engines").rglob("choice-*.json")
    os.utime(choice, (0, 0))
    dry = notes.build(dry_run=True)
    assert used(dry) == "openvino bf16"
    assert choice.stat().st_mtime == 0, "no trace of a dry run"
    built = notes.build()
    assert verdicts(built)[0].passed, "as the workdir has it"
    assert (used(built), built.manifest.counts.embedded) == ("openvino bf16", 0)
    assert choice.stat().st_mtime > 0, "it was used"
    assert engines.references == 1


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_an_explicit_engine_that_is_off_is_refused_with_the_figure(notes, engines, engine):
    engines.off[f"{engine} bf16"] = 3e-4
    asks(notes, engine=engine, precision="bf16")
    answer = notes.command("build", "--json")

    assert (answer.code, answer.out) == (2, "")
    assert f"{engine} bf16 cannot embed" in answer.err
    assert "1 − cos to torch fp32 is up to 0.0003, at most 0.0002 is allowed" in answer.err
    assert engines.embedded_by == []
    assert not list((notes.folder / "work").rglob("vectors/*"))


def test_an_explicit_engine_is_checked_once(notes, engines):
    asks(notes, engine="onnx", precision="fp32")
    first = notes.build()
    notes.write({f"n{i}": sentence(i, i + 41) for i in range(30)})
    second = notes.build(yes=True)

    assert (used(first), used(second), engines.references) == ("onnx fp32", "onnx fp32", 1)
    assert verdicts(first) == verdicts(second)
    assert choices(notes) == []


def test_torch_in_fp32_needs_no_check(notes, engines):
    asks(notes, engine="torch", precision="fp32")
    outcome = notes.build()
    [verdict] = verdicts(outcome)

    assert (used(outcome), engines.references) == ("torch fp32", 0)
    assert (verdict.value, verdict.passed) == (0.0, True)
    assert verdict.detail.startswith("torch fp32: what other engines are compared with")


def test_a_build_that_embeds_nothing_neither_measures_nor_checks(notes, engines):
    first = notes.build()
    shutil.rmtree(notes.folder / "work")
    texts = notes.content()
    notes.source(max_shrink=1.0)
    unchanged = notes.build()
    notes.write({key.removeprefix("docs:"): text for key, text in list(texts.items())[:20]})
    removed = notes.build()

    assert engines.references == 1
    assert removed.manifest.counts.removed == 10
    assert used(unchanged) == used(removed) == used(first)
    assert verdicts(unchanged) == verdicts(removed) == verdicts(first), "as the release has it"


def test_a_build_that_is_refused_before_does_not_measure(notes, engines):
    notes.changes["expectations"] = {"min_rows": 1000}
    refused = notes.build()

    assert refused.exit_code == 3
    assert (used(refused), engines.references) == ("auto auto", 0)
    assert choices(notes) == []


def test_a_workdir_that_was_deleted_costs_a_check_and_no_other_engine(notes, engines):
    notes.build()
    shutil.rmtree(notes.folder / "work")
    engines.fast = "torch bf16"
    notes.write({f"n{i}": sentence(i, i + 40, i + 80) for i in range(31)})
    outcome = notes.build()

    assert (used(outcome), outcome.manifest.counts.embedded) == ("openvino bf16", 1)
    assert engines.references == 2
    assert choices(notes) == []


def test_an_engine_that_turned_bad_since_is_refused_and_the_release_stands(notes, engines):
    notes.build()
    shutil.rmtree(notes.folder / "work")
    engines.off["openvino bf16"] = 3e-4
    notes.write({f"n{i}": sentence(i, i + 40, i + 80) for i in range(31)})

    with pytest.raises(UsageError, match=r"0\.0003.*engine: torch.*v0001 was embedded with these"):
        notes.build()
    assert len(notes.content()) == 30


def test_two_first_builds_at_once_end_with_one_choice_and_one_table(notes, engines, monkeypatch):
    both, measured = Barrier(2), engine_choice.take_reference

    def together(ref):
        taken = measured(ref)
        engines.fast = ("openvino bf16", "torch bf16")[both.wait(60)]  # each finds another
        return taken

    monkeypatch.setattr(engine_choice, "take_reference", together)
    with ThreadPoolExecutor(2) as pool:
        first, second = [each.result(120) for each in [pool.submit(notes.build) for _ in range(2)]]

    assert used(first) == used(second)
    assert len(choices(notes)) == 1
    assert sorted(first.manifest.counts.rows for first in (first, second)) == [30, 30]
    assert len(notes.content()) == 30
    vectors = notes.folder / "work/vectors"
    assert [path.name.endswith(used(first).replace(" ", "-")) for path in vectors.iterdir()] == [
        True
    ]
    assert not list((notes.folder / "work").rglob(".tmp-*"))


def test_the_engine_of_the_release_that_is_not_installed_here_is_named(notes, engines):
    notes.build()
    engines.missing = {"openvino"}
    assert notes.build().exit_code == 0, "nothing to embed: it is not needed"
    notes.write({f"n{i}": sentence(i, i + 40, i + 80) for i in range(31)})

    with pytest.raises(MissingExtraError) as caught:
        notes.build()
    said = str(caught.value)
    assert "pip install 'vecmill[openvino]', or write another engine" in said
    assert "v0001 was embedded with these" in said
    assert notes.build(dry_run=True).exit_code == 0


def test_another_engine_is_taken_when_the_spec_asks_and_auto_keeps_it_then(notes, engines):
    notes.build()
    asks(notes, engine="torch")
    assert "run again with --yes" in notes.build().message
    second = notes.build(yes=True)
    assert used(second) == "torch fp32", "bf16 is no tenth faster here"
    assert second.manifest.counts.embedded == 30
    asks(notes)
    third = notes.build()
    assert (used(third), third.manifest.counts.embedded) == ("torch fp32", 0)


def test_an_engine_named_as_the_release_has_it_changes_nothing(notes, engines):
    notes.build()
    asks(notes, engine="openvino")
    outcome = notes.build()
    assert (used(outcome), outcome.manifest.counts.changed) == ("openvino bf16", 0)
    assert choices(notes) == ["choice-auto-auto-text.json"]


def test_the_report_and_the_audits_show_the_engine(notes, engines):
    outcome = notes.build()
    page = outcome.report.read_text()
    assert "openvino bf16: 5.0× torch fp32 on this machine" in page
    printed = json.loads(notes.command("build", "--json").out)
    assert [audit["name"] for audit in printed["audits"]].count("engine") == 1
    assert notes.command("audit").code == 0
