"""The edge to Great Expectations: Arrow in, outcomes out. Nothing else imports it, or pandas.

The import takes 5.7 CPU-seconds, so modules import this one late. The context is ephemeral (no
file, no network, no progress bar), made once a process, and used by one thread at a time.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.errors import UsageError
from tasks.validate.expectation import Expectation
from tasks.validate.outcome import Outcome

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # 1.24 has no telemetry; others had

_LOCK = threading.RLock()

_EVERY_ROW = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["row"],
    "return_unexpected_index_query": False,
}
"""Return the rows that fail, by the column `row`, each with its value."""


def judge_by_library(
    table: pa.Table, expectations: Sequence[Expectation], origin: str
) -> list[Outcome]:
    """Judge a table with an int64 column `row` and the columns that the expectations name.

    Raises `UsageError` for an expectation that cannot be computed on these columns, such as the
    mean of a text.
    """
    outcomes: dict[int, Outcome] = {}
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for several in (False, True):
            chosen = {n: e for n, e in enumerate(expectations) if (len(e.columns) > 1) is several}
            if not chosen:
                continue
            objects = [_object(e, table.schema, n) for n, e in chosen.items()]
            batch = _batches().get_batch({"dataframe": _frame(table, several)})
            results = batch.validate(
                _library().ExpectationSuite(name="vecmill", expectations=objects),
                result_format=_EVERY_ROW,
            ).results
            for result in results:  # in any order; each carries its place
                place = result.expectation_config.meta["place"]
                outcomes[place] = _outcome(result, chosen[place], origin)
    return [outcomes[n] for n in range(len(expectations))]


def _frame(table: pa.Table, several: bool) -> Any:
    """The table for pandas: Arrow's own types, or NumPy's where columns are compared.

    Of a null Arrow says that the comparison is null, over which the library stumbles; NumPy's NaN
    is greater than nothing and equal to nothing, and so the row fails.
    """
    import pandas as pd

    if several:
        return table.to_pandas(date_as_object=False)
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def wrong_values(expectation: Expectation) -> Iterator[str]:
    """What the library finds wrong with the arguments, one line each."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _object(expectation, pa.schema([]), 0)
        except ValueError as error:
            details = getattr(error, "errors", None)  # of the library's pydantic
            if details is None:
                yield str(error)
                return
            for each in details():
                where = ".".join(str(part) for part in each["loc"] if part != "__root__")
                value = expectation.kwargs.get(where.split(".")[0])
                yield f"{where} {value!r}: {each['msg']}" if where else str(each["msg"])


@lru_cache(1)
def _library() -> Any:
    """Great Expectations, imported without the marks that its import leaves on the process.

    It sends all of Python's warnings to logging, and logs at level INFO whatever the program says.
    """
    before = warnings.showwarning
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations
    import great_expectations.expectations.core

    if warnings.showwarning is not before:
        logging.captureWarnings(False)
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)
    return great_expectations


@lru_cache(1)
def _batches() -> Any:
    """The one definition of a batch, in a context that leaves nothing behind."""
    library = _library()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = library.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("vecmill").add_dataframe_asset("records")
    return asset.add_batch_definition_whole_dataframe("records")


def _object(expectation: Expectation, schema: pa.Schema, place: int) -> Any:
    """The library's own object. Its pydantic raises a `ValueError` for wrong arguments."""
    _library()
    from great_expectations.expectations.registry import get_expectation_impl

    kwargs = dict(expectation.kwargs)
    for key in ("min_value", "max_value"):
        if isinstance(kwargs.get(key), str) and expectation.columns:
            kwargs[key] = _moment(kwargs[key], schema, expectation.columns[0])
    return get_expectation_impl(expectation.type)(**kwargs, meta={"place": place})


def _moment(text: str, schema: pa.Schema, column: str) -> object:
    """An ISO date as the column's type wants it; a time without zone is UTC."""
    if column not in schema.names:
        return text
    kind = schema.field(column).type
    try:
        if pa.types.is_date(kind):
            return date.fromisoformat(text)
        if pa.types.is_timestamp(kind):
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        return text  # the library says what is wrong with it
    return text


def _outcome(result: Any, expectation: Expectation, origin: str) -> Outcome:
    raised = _exception(result.exception_info)
    if raised is not None:
        raise UsageError(
            f"{origin}: {expectation.expected} cannot be computed on these columns: {raised}; "
            f"expected an expectation that fits the columns' types: correct or remove it"
        )
    found = result.result
    return Outcome(
        success=bool(result.success),
        observed=found.get("observed_value"),
        elements=int(found.get("element_count") or 0),
        unexpected=int(found.get("unexpected_count") or 0),
        missing=int(found.get("missing_count") or 0),
        failing={
            int(each["row"]): {name: _value(value) for name, value in each.items()}
            for each in found.get("unexpected_index_list") or []
        },
    )


def _value(value: Any) -> object:
    """A cell as Python has it; what pandas takes for missing becomes None."""
    import pandas as pd

    if isinstance(value, np.generic):
        value = value.item()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def _exception(info: dict[str, Any]) -> str | None:
    """The message of what was raised inside the library, if anything was.

    `info` is one report, or one for each metric.
    """
    reports = [info] if "raised_exception" in info else list(info.values())
    for report in reports:
        if isinstance(report, dict) and report.get("raised_exception"):
            return str(report.get("exception_message")).strip().splitlines()[0]
    return None
