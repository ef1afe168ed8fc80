"""`auto` is the fastest engine that passes, measured once; what is left out is said, with why."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from schemas.engines import pairs
from schemas.errors import MissingExtraError, UsageError, VecmillError
from schemas.refs import EmbedderRef
from schemas.spec import EmbedderSpec
from tasks.embedders import engine_choice
from tasks.embedders.engine_check import Reference
from tasks.embedders.engine_choice import choose
from tasks.embedders.engine_records import choice_path, decide, read_check
from tasks.embedders.engine_trial import THRESHOLD, Trial
from tasks.embedders.resolve import resolve

TEXT = frozenset({"text"})


class Machine:
    """A machine where engines take given seconds for the 64 texts, or fail for a given reason."""

    def __init__(self) -> None:
        self.seconds = {"torch fp32": 1.0, "torch bf16": 0.5, "openvino fp32": 0.4}
        self.seconds |= {"openvino bf16": 0.2, "onnx fp32": 0.45, "torch fp16": 2.0}
        self.problems: dict[str, str] = {}
        self.device = "cpu"
        self.missing: set[str] = set()
        self.tried: list[str] = []
        self.loaded: set[str] = set()
        self.most_loaded = 0

    def take_reference(self, _ref: EmbedderRef) -> Reference:
        self._load("torch fp32")
        return Reference({"text": np.eye(64)}, {"text": self.seconds["torch fp32"]}, {"text": 1})

    def try_engine(self, ref: EmbedderRef, _reference: Reference) -> Trial:
        name = f"{ref.engine} {ref.precision}"
        self.tried.append(name)
        self._load(name)
        if name in self.problems:
            return Trial(ref.engine, ref.precision, problem=self.problems[name])
        seconds = {"text": self.seconds[name]}
        return Trial(ref.engine, ref.precision, off=3.3e-5, seconds=seconds)

    def drop(self, _ref: EmbedderRef, engine: str, precision: str) -> None:
        self.loaded.discard(f"{engine} {precision}")

    def _load(self, name: str) -> None:
        self.loaded.add(name)
        self.most_loaded = max(self.most_loaded, len(self.loaded))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(engine_choice, "take_reference", made.take_reference)
    monkeypatch.setattr(engine_choice, "try_engine", made.try_engine)
    monkeypatch.setattr(engine_choice, "_drop", made.drop)
    monkeypatch.setattr(engine_choice, "_device", lambda: made.device)
    monkeypatch.setattr(engine_choice, "installed", lambda engine: engine not in made.missing)
    return made


@pytest.fixture
def ref(minilm: str, tmp_path: Path) -> EmbedderRef:
    """A reference whose engine is to be chosen; nobody loads its model."""
    spec = EmbedderSpec(kind="sentence-transformers", model=minilm)
    return replace(resolve(spec, TEXT), exports=str(tmp_path / "engines"))


def chosen(ref: EmbedderRef) -> str:
    made = choose(ref, TEXT, "b1")
    return f"{made.engine} {made.precision}"


def recorded(ref: EmbedderRef) -> dict:
    return json.loads(choice_path(ref, TEXT).read_text())


def test_the_fastest_that_passes_is_chosen_recorded_and_kept(
    machine: Machine, ref: EmbedderRef
) -> None:
    said: list[str] = []
    machine.problems["torch bf16"] = "RuntimeError: no kernel"
    made = choose(ref, TEXT, "b1", said.append)

    assert (made.engine, made.precision) == ("openvino", "bf16")
    assert said == [
        "engine: openvino bf16, 5.0× torch fp32 on this machine; 1 − cos up to 3.3e-05 over 64 "
        "fixed inputs",
        "engine: not torch bf16: RuntimeError: no kernel",
        "engine: not onnx fp32, openvino fp32: openvino bf16 passes and is 5.0× torch fp32: bf16 "
        "pays here",
    ]
    assert decide(ref, TEXT) == made, "read, not measured"
    assert machine.loaded == {"openvino bf16"}, "the one that is used next"
    assert machine.most_loaded == 2


def test_the_record_says_what_was_tried_where_and_with_what(
    machine: Machine, ref: EmbedderRef
) -> None:
    machine.missing = {"onnx"}
    machine.seconds["openvino bf16"] = 0.7
    choose(ref, TEXT, "b1")
    record = recorded(ref)
    figures = {
        f"{each['engine']} {each['precision']}": (
            each["seconds_for_64"].get("text"),
            each["left_out"],
        )
        for each in record["candidates"]
    }

    assert (record["engine"], record["precision"]) == ("openvino", "fp32")
    assert record["asked"] == {"engine": "auto", "precision": "auto", "kinds": ["text"]}
    assert figures == {
        "torch fp32": (1.0, None),
        "torch bf16": (0.5, None),
        "onnx fp32": (None, "not installed (pip install 'vecmill[onnx]')"),
        "openvino fp32": (0.4, None),
        "openvino bf16": (0.7, None),
    }
    assert record["candidates"][-1]["one_minus_cos"] == 3.3e-5
    assert record["machine"]["cpu"]
    assert {"torch", "openvino", "transformers", "vecmill"} <= record["versions"].keys()
    made = replace(ref, engine="openvino", precision="bf16")
    assert read_check(made) is not None, "it needs no check of its own afterwards"


def test_a_simpler_engine_is_taken_unless_another_is_more_than_a_tenth_faster(
    machine: Machine, ref: EmbedderRef
) -> None:
    machine.seconds |= {"torch bf16": 0.95, "onnx fp32": 0.92, "openvino fp32": 0.95}
    machine.seconds["openvino bf16"] = 0.93
    assert chosen(ref) == "torch fp32"


@pytest.mark.parametrize(("seconds", "winner"), [(0.48, "openvino bf16"), (0.52, "torch bf16")])
def test_beside_torch_in_bf16_an_exported_engine_needs_no_lead_since_it_starts_sooner(
    machine: Machine, ref: EmbedderRef, seconds: float, winner: str
) -> None:
    machine.seconds |= {"torch bf16": 0.5, "openvino bf16": seconds}
    assert chosen(ref) == winner


def test_a_small_model_is_not_worth_measuring(machine: Machine, ref: EmbedderRef) -> None:
    machine.seconds["torch fp32"] = 0.012
    assert chosen(ref) == "torch fp32"
    assert machine.tried == []
    left_out = {each["left_out"] for each in recorded(ref)["candidates"][1:]}
    assert left_out == {"torch fp32 embeds the 64 inputs in 12 ms: nothing to gain"}


@pytest.mark.parametrize(
    ("engine", "precision", "tried", "winner"),
    [
        ("torch", "auto", ["torch bf16"], "torch bf16"),
        ("auto", "fp32", ["onnx fp32", "openvino fp32"], "openvino fp32"),
        ("auto", "bf16", ["torch bf16", "openvino bf16"], "openvino bf16"),
        ("openvino", "auto", ["openvino bf16"], "openvino bf16"),
        ("auto", "fp16", ["torch fp16"], "torch fp16"),
        ("onnx", "auto", ["onnx fp32"], "onnx fp32"),
    ],
)
def test_where_the_spec_names_one_of_the_two_the_other_is_chosen(
    machine: Machine, ref: EmbedderRef, engine: str, precision: str, tried: list[str], winner: str
) -> None:
    assert chosen(replace(ref, engine=engine, precision=precision)) == winner
    assert machine.tried == tried


def test_where_bf16_gains_little_or_fails_exported_fp32_is_tried_too(
    machine: Machine, ref: EmbedderRef
) -> None:
    machine.seconds["openvino bf16"] = 0.7
    assert chosen(ref) == "openvino fp32"
    machine.problems["openvino bf16"] = "1 − cos is 0.1"
    machine.tried.clear()
    assert chosen(replace(ref, engine="openvino")) == "openvino fp32"
    assert machine.tried == ["openvino bf16", "openvino fp32"]
    assert machine.most_loaded == 3


def test_what_a_spec_leaves_no_choice_about_is_not_measured(ref: EmbedderRef) -> None:
    onnx = decide(replace(ref, engine="onnx"), TEXT)
    half = decide(replace(ref, precision="fp16"), TEXT)

    assert (onnx.engine, onnx.precision) == ("onnx", "fp32")
    assert (half.engine, half.precision) == ("torch", "fp16")
    assert not decide(ref, TEXT).decided


def test_on_a_gpu_torch_alone_is_tried(machine: Machine, ref: EmbedderRef) -> None:
    machine.device = "cuda"
    machine.seconds |= {"torch fp32": 0.01, "torch bf16": 0.004, "torch fp16": 0.005}
    assert chosen(ref) == "torch bf16"
    assert machine.tried == ["torch bf16", "torch fp16"]


def test_an_engine_that_the_spec_names_must_be_installed(
    machine: Machine, ref: EmbedderRef
) -> None:
    machine.missing = {"openvino", "onnx"}
    with pytest.raises(MissingExtraError, match=r"vecmill\[openvino\]', or leave engine out"):
        chosen(replace(ref, engine="openvino"))
    assert machine.loaded == set(), "said before torch is loaded"


def test_nothing_that_passes_is_refused_with_every_reason(
    machine: Machine, ref: EmbedderRef
) -> None:
    machine.problems = {"openvino fp32": "cannot be exported", "openvino bf16": "1 − cos is 0.1"}
    with pytest.raises(UsageError) as caught:
        chosen(replace(ref, engine="openvino"))
    said = str(caught.value)
    assert "openvino fp32: cannot be exported; openvino bf16: 1 − cos is 0.1" in said
    assert "Write engine: auto" in said
    assert not choice_path(replace(ref, engine="openvino"), TEXT).exists()


def test_a_choice_for_other_kinds_or_another_question_is_another(
    machine: Machine, ref: EmbedderRef
) -> None:
    choose(ref, TEXT, "b1")
    assert not decide(ref, {"image"}).decided
    assert not decide(replace(ref, precision="bf16"), TEXT).decided
    assert not decide(replace(ref, fingerprint="0" * 32), TEXT).decided


def test_of_two_builders_that_choose_at_once_the_first_decides(
    machine: Machine, ref: EmbedderRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, measured = Barrier(8), engine_choice._fastest

    def together(*given):
        made = measured(*given)
        number = both.wait()
        return replace(made, precision="fp32") if number % 2 else made  # each found another

    monkeypatch.setattr(engine_choice, "_fastest", together)
    with ThreadPoolExecutor(8) as pool:
        keys = {pool.submit(choose, ref, TEXT, f"b{i}").result for i in range(8)}
        names = {made().vector_key for made in keys}

    assert len(names) == 1
    assert decide(ref, TEXT).vector_key in names
    assert not list(Path(ref.exports).rglob(".tmp-*"))


def test_without_hard_links_the_choice_is_recorded_too(
    machine: Machine, ref: EmbedderRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("hard links are not supported")

    monkeypatch.setattr("tasks.embedders.engine_records.os.link", refuse)
    choose(ref, TEXT, "b1")
    machine.seconds["torch fp32"] = 0.001
    assert choose(ref, TEXT, "b2").engine == "openvino", "what stands is not replaced"


def test_without_a_workdir_it_is_chosen_and_nothing_is_written(
    machine: Machine, ref: EmbedderRef
) -> None:
    assert choose(replace(ref, exports=""), TEXT).engine == "openvino"
    assert not Path(ref.exports).exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"engine": "torch"}'])
def test_a_record_that_was_spoilt_is_named_with_the_way_on(
    machine: Machine, ref: EmbedderRef, text: str
) -> None:
    choose(ref, TEXT, "b1")
    choice_path(ref, TEXT).write_text(text)
    with pytest.raises(VecmillError, match=r"choice-auto-auto-text\.json is not what.*delete it"):
        decide(ref, TEXT)


def test_the_pairs_of_a_spec_come_simplest_first() -> None:
    assert pairs("auto", "auto")[0] == ("torch", "fp32")
    assert pairs("auto", "bf16") == [("torch", "bf16"), ("openvino", "bf16")]
    assert pairs("onnx", "bf16") == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_engine_that_is_installed_passes_on_a_real_model(
    ref: EmbedderRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "BF16_PAYS", float("inf"))
    made = choose(ref, TEXT, "b1")
    found = {f"{each['engine']} {each['precision']}": each for each in recorded(ref)["candidates"]}

    assert len(found) == 5
    for name, each in found.items():
        assert each["left_out"] is None or "not installed" in each["left_out"], name
        if each["left_out"] is None:
            assert each["one_minus_cos"] < (1e-6 if "fp32" in name else THRESHOLD), name
    assert found[f"{made.engine} {made.precision}"]["left_out"] is None
