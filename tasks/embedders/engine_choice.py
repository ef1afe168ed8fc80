"""Which engine and precision compute a space: the fastest that passes the engine check.

    what the spec allows ─ installed here ─ tried, bf16 first ─ fastest by > 10 % → choice

It is measured once for a model and a `workdir` and recorded there (`engine_records`); what a
release was made with is in its manifest. On a CPU torch in fp32 and bf16, OpenVINO and ONNX Runtime
are tried; on a GPU torch in fp32, bf16 and fp16, since the others compute on the CPU here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from schemas.engines import AUTO, REFERENCE, pairs
from schemas.errors import MissingExtraError, UsageError
from schemas.refs import EmbedderRef
from tasks.embedders.engine_check import (
    Reference,
    as_reference,
    take_reference,
    try_engine,
)
from tasks.embedders.engine_records import keep_check, keep_choice, read_check
from tasks.embedders.engine_trial import Choice, Trial
from tasks.embedders.exported.engines import ENGINES

WORTH_IT = 1.1
"""A candidate must be more than 10 % faster than a simpler one: less is noise (two runs of one
engine differ by up to 5 % on a quiet machine), and not worth another library."""

QUICK = 0.1
"""Seconds for the 64 inputs under which torch fp32 is taken on a CPU without trying others: at over
six hundred inputs a second exporting takes longer than most such spaces."""

BF16_PAYS = 1.5
"""Times torch fp32 from which an exported engine's bf16 rules out its like in fp32, untried: the
machine computes in bf16. MiniLM on a CPU that does, by CPU time: OpenVINO bf16 1.75, OpenVINO fp32
1.0, ONNX Runtime 0.87."""

Say = Callable[[str], None]


def _unheard(_line: str) -> None:
    """Nobody listens."""


def choose(
    ref: EmbedderRef, kinds: Collection[str], owner: str = "", say: Say = _unheard
) -> EmbedderRef:
    """`ref` in the engine and precision that are fastest here for `kinds`; measured and recorded.

    Builders that choose at the same time end with one choice. `owner` is the build's lease, `say`
    hears what was found. Raises `UsageError` where nothing that the spec allows can be used.
    """
    candidates = _candidates(ref)  # first: a missing package is told before torch is loaded
    reference = take_reference(ref)
    trials = _tried(ref, candidates, reference, kinds, owner)
    choice = _fastest(ref, trials, reference, kinds)
    engine, precision = keep_choice(ref, kinds, choice, owner)
    chosen = replace(ref, engine=engine, precision=precision)
    for trial in trials:
        if (trial.engine, trial.precision) != (engine, precision):
            _drop(ref, trial.engine, trial.precision)
    if (engine, precision) != REFERENCE:
        _drop(ref, *REFERENCE)
    for line in _told(choice, chosen):
        say(line)
    return chosen


def check(ref: EmbedderRef, owner: str = "", way_on: str = "") -> tuple[Trial, dict[str, float]]:
    """The check of `ref`: recorded, or made and recorded now; and the reference's seconds by kind.

    `way_on` ends the message of the `UsageError` that refuses what does not pass.
    """
    refuse_missing(ref.engine, f"embedder.engine {ref.engine}", way_on)
    if (known := checked_before(ref)) is not None:
        return known
    reference = take_reference(ref)
    _drop(ref, *REFERENCE)
    trial = try_engine(ref, reference)
    if trial.problem:
        _drop(ref, ref.engine, ref.precision)
        raise UsageError(
            f"embedder: {trial.name} cannot embed {ref.model!r} here: {trial.problem}. "
            f"{_sentence(way_on or 'write engine: auto and precision: auto')}"
        )
    keep_check(ref, trial, reference.trial, owner)
    return trial, dict(reference.seconds)


def checked_before(ref: EmbedderRef) -> tuple[Trial, dict[str, float]] | None:
    """What `check` gives where it need not load anything, or None."""
    if (ref.engine, ref.precision) == REFERENCE:
        return Trial(*REFERENCE, off=0.0), {}
    return read_check(ref)


def speed(trial: Trial, reference: dict[str, float], kinds: Collection[str]) -> float | None:
    """How many times as fast as torch fp32 an engine embeds `kinds`; None: it was not measured."""
    measured = [kind for kind in kinds if kind in trial.seconds and kind in reference]
    taken = sum(trial.seconds[kind] for kind in measured)
    return sum(reference[kind] for kind in measured) / taken if taken else None


def installed(engine: str) -> bool:
    """Whether the engine's package is installed here; it is not imported."""
    return engine not in ENGINES or ENGINES[engine].installed


def refuse_missing(engine: str, purpose: str, instead: str = "") -> None:
    """Raise `MissingExtraError` where the engine's package is not installed."""
    if not installed(engine):
        raise MissingExtraError(ENGINES[engine].package, ENGINES[engine].extra, purpose, instead)


def _candidates(ref: EmbedderRef) -> list[tuple[str, str]]:
    """What the spec allows, the simplest first; an engine that it names must be installed.

    Where it says `auto`: no fp16 on a CPU, which is no faster there, and on a GPU torch alone.
    """
    if ref.engine != AUTO:
        refuse_missing(ref.engine, f"embedder.engine {ref.engine}", "leave engine out (auto)")
    on_cpu = _device() == "cpu"
    return [
        (engine, precision)
        for engine, precision in pairs(ref.engine, ref.precision)
        if (on_cpu or ref.engine != AUTO or engine == "torch")
        and (not on_cpu or ref.precision != AUTO or precision != "fp16")
    ]


def _device() -> str:
    from tasks.embedders.torch_device import device

    return device().type


def _tried(
    ref: EmbedderRef,
    candidates: list[tuple[str, str]],
    reference: Reference,
    kinds: Collection[str],
    owner: str,
) -> list[Trial]:
    """A trial of each candidate, as they stand; those that cannot do here say why.

    bf16 is tried first, as it may spare others. The fastest stay loaded.
    """
    trials: dict[tuple[str, str], Trial] = {}
    for pair in sorted(candidates, key=lambda pair: (pair != REFERENCE, pair[1] != "bf16")):
        why = _not_tried(ref, pair, reference, kinds, trials.values())
        if why:
            trials[pair] = Trial(*pair, problem=why)
            continue
        if pair == REFERENCE:
            trials[pair] = reference.trial
            continue
        candidate = replace(ref, engine=pair[0], precision=pair[1])
        trials[pair] = trial = try_engine(candidate, reference)
        if trial.problem is None:
            keep_check(candidate, trial, reference.trial, owner)
        best = _best([trials[each] for each in candidates if each in trials], kinds)
        for tried in trials.values():
            if tried is not best and (tried.engine, tried.precision) != REFERENCE:
                _drop(ref, tried.engine, tried.precision)  # three models at a time, not six
    return [trials[pair] for pair in candidates]


def _not_tried(
    ref: EmbedderRef,
    pair: tuple[str, str],
    reference: Reference,
    kinds: Collection[str],
    before: Collection[Trial],
) -> str | None:
    """Why a candidate is left out before it is loaded, or None; `before` were tried already."""
    engine, precision = pair
    if pair == REFERENCE:
        return None
    if not installed(engine):
        return f"not installed (pip install 'vecmill[{ENGINES[engine].extra}]')"
    if engine in ENGINES and precision == "fp32":
        for trial in before:
            times = speed(trial, dict(reference.seconds), kinds) or 0.0
            exported = trial.engine in ENGINES and trial.precision == "bf16"
            if exported and not trial.problem and times >= BF16_PAYS:
                return f"{trial.name} passes and is {times:.1f}× torch fp32: bf16 pays here"
    seconds = reference.trial.seconds_for(kinds)
    if (ref.engine, ref.precision) == (AUTO, AUTO) and seconds < QUICK and _device() == "cpu":
        return f"torch fp32 embeds the 64 inputs in {seconds * 1000:.0f} ms: nothing to gain"
    return None


def _best(trials: Collection[Trial], kinds: Collection[str]) -> Trial | None:
    """The fastest that passed, where a later one must be more than 10 % faster; None: none did.

    An exported engine beside torch in bf16 needs no such lead: the next builds and searches start
    in a second and a half with it, and in ten with torch (`benchmarks/embed.py`).
    """
    best: Trial | None = None
    for trial in trials:
        if trial.problem is not None:
            continue
        if best is None:
            best = trial
            continue
        starts_sooner = trial.engine in ENGINES and best.engine not in ENGINES
        lead = 1.0 if starts_sooner and best.precision != REFERENCE[1] else WORTH_IT
        if trial.seconds_for(kinds) * lead < best.seconds_for(kinds):
            best = trial
    return best


def _fastest(
    ref: EmbedderRef, trials: list[Trial], reference: Reference, kinds: Collection[str]
) -> Choice:
    best = _best(trials, kinds)
    if best is None:
        problems = "; ".join(f"{trial.name}: {trial.problem}" for trial in trials)
        raise UsageError(
            f"embedder.engine {ref.engine}, precision {ref.precision}: nothing that they allow can "
            f"embed {ref.model!r} here: {problems}. Write engine: auto and precision: auto"
        )
    times = speed(best, dict(reference.seconds), kinds)
    why = f"{times:.1f}× torch fp32 on this machine" if times else "the only one"
    if (best.engine, best.precision) == REFERENCE:
        why = "which no other that passed outdoes by a tenth"
    return Choice(best.engine, best.precision, why, tuple(trials))


def _drop(ref: EmbedderRef, engine: str, precision: str) -> None:
    from tasks.embedders.load import unload

    unload(replace(as_reference(ref), engine=engine, precision=precision))


def _told(choice: Choice, chosen: EmbedderRef) -> list[str]:
    """The choice and the candidates that were left out, a line each."""
    name = f"{chosen.engine} {chosen.precision}"
    if name != choice.name:
        return [f"engine: {name}, which another build chose at the same time"]
    [won] = [trial for trial in choice.trials if trial.name == name]
    figure = f"; 1 − cos up to {won.off:.1e} over 64 fixed inputs" if won.off else ""
    lines = [f"engine: {name}, {choice.why}{figure}"]
    reasons: dict[str, list[str]] = {}
    for trial in choice.trials:
        if trial.problem:
            reasons.setdefault(trial.problem, []).append(trial.name)
    return lines + [f"engine: not {', '.join(names)}: {why}" for why, names in reasons.items()]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
