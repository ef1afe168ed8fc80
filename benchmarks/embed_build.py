"""One whole build in a process of its own: how much of it, after start-up, the model worked.

Run by `embed.py` as `python embed_build.py SPEC`; prints one JSON object. Start-up is what the
manifest's `timings.start_up` says from the first line of this file on (imports, finding the
embedder, checking the engine, exporting, compiling, loading); the time in the model is what each
shard says. `steps` are the calls of each stage, in seconds by the clock and of the CPU.
"""

from __future__ import annotations

import time

BEGUN = time.perf_counter()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from flows.compose import build_space  # noqa: E402
from flows.progress import StageBars  # noqa: E402
from flows.runner import PlainRunner, Retry  # noqa: E402
from schemas.load import load_spec  # noqa: E402
from schemas.refs import ShardResult  # noqa: E402


class Watched(PlainRunner):
    """Notes what each call took, and what the shards say."""

    def __init__(self) -> None:
        super().__init__(StageBars("quiet"))
        self.steps: dict[str, list[float]] = {}
        self.shards: list[ShardResult] = []

    def run(self, stage: str, function: Any, *args: Any, **options: Any) -> Any:
        """See `Runner.run`."""
        call = super().run
        return self._noted(stage, function, lambda: call(stage, function, *args, **options))

    def map(
        self,
        stage: str,
        function: Any,
        calls: Any,
        *,
        rows: int | None = None,
        workers: int = 1,
        retry: Retry | None = None,
    ) -> list[Any]:
        """See `Runner.map`."""
        call = super().map
        results = self._noted(
            stage,
            function,
            lambda: call(stage, function, calls, rows=rows, workers=workers, retry=retry),
        )
        self.shards += [result for result in results if isinstance(result, ShardResult)]
        return results

    def _noted(self, stage: str, function: Any, work: Any) -> Any:
        clock, cpu = time.perf_counter(), time.process_time()
        try:
            return work()
        finally:
            spent = self.steps.setdefault(f"{stage}: {function.__name__}", [0.0, 0.0])
            spent[0] += time.perf_counter() - clock
            spent[1] += time.process_time() - cpu


def main() -> None:
    """Build, and say what it took."""
    imports = time.perf_counter() - BEGUN
    runner = Watched()
    outcome = build_space(load_spec(sys.argv[1]), runner=runner, begun=BEGUN)
    timings, shards = outcome.manifest.timings, runner.shards
    used = os.times()
    print(
        json.dumps(
            {
                "code": outcome.exit_code,
                "message": outcome.message,
                "counts": outcome.manifest.counts.model_dump(),
                "imports": imports,
                "start_up": timings.start_up,
                "load": max((shard.load_seconds for shard in shards), default=0.0),
                "model": sum(shard.model_seconds for shard in shards),
                "total": timings.total,
                "cpu": used.user + used.system,
                "tokens": sum(shard.tokens for shard in shards),
                "slots": sum(shard.slots for shard in shards),
                "shards": len(shards),
                "timings": timings.model_dump(by_alias=True),
                "steps": runner.steps,
            }
        )
    )


if __name__ == "__main__":
    main()
