"""One build's rows as one Lance transaction: staged, readable as a candidate, committed or gone.

    base   = take_base(ref, build_id)                 tag the version that is planned from
    staged = stage_update(base, gone, batches, schema)  or stage_overwrite: nothing is committed
    staged.commit_candidate()                         a detached version, never "latest"
    commit(staged, properties)                        the same operation on main, or ConflictError
    discard(staged)                                   or: every file of it unlinked

The update *touches* every other fragment of its base, so that any two builds from one base
conflict natively; Lance's own upsert would let both insert the same new ids.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from schemas.errors import VecmillError
from tasks.table.dataset import (
    STORAGE_VERSION,
    TableRef,
    create_tag,
    open_main,
    open_version,
    read_tags,
    try_open,
)
from tasks.table.fragments import FRAGMENT_ROWS, fragment_rows
from tasks.table.history import (
    BUILD,
    find_build,
    is_conflict,
    main_versions,
    read_commit,
    refuse_stranger,
    walk,
)
from tasks.table.releases import BASE_PREFIX, release_number, release_versions

COMMIT_ATTEMPTS = 3
"""Tries of a commit that failed without a conflict (an object store that stutters)."""

RETRY_SECONDS = 1.0
"""Waited before the next try, times the tries so far."""

OFFSET_BITS = np.uint64(32)
OFFSET_MASK = np.uint64(0xFFFFFFFF)
"""A row address is fragment << 32 | offset."""

T = TypeVar("T")


class ConflictError(VecmillError):
    """Another writer was first: plan again from what main holds now. Nothing was published."""


@dataclass(frozen=True)
class Base:
    """The version that a build is planned from, held by the tag `base-<build id>`."""

    ref: TableRef
    build_id: str
    version: int
    release: int  # number of the newest release; 0 = none yet
    fragments: int  # of the version; 0 = there is nothing to touch

    @property
    def tag(self) -> str:
        """The tag that keeps cleanup away while the build runs."""
        return f"{BASE_PREFIX}{self.build_id}"


@dataclass(frozen=True)
class Staged:
    """A transaction that is not committed: fragments as JSON, and every file that it made."""

    base: Base
    overwrite: bool
    schema: pa.Schema
    removed: tuple[int, ...]  # fragments of the base that go as a whole
    deleted_from: tuple[str, ...]  # fragments of the base with a new deletion file
    added: tuple[str, ...]  # new fragments
    written: int  # rows in new fragments
    gone: int  # rows of the base that leave or are written again
    candidate: int | None = None  # the detached version
    candidate_transaction: str | None = None  # its file under `_transactions/`

    @property
    def data_files(self) -> tuple[str, ...]:
        """Paths of the new data files, below the dataset's `data/`."""
        return tuple(
            file.path for text in self.added for file in _fragment(text).files if file.path
        )

    def commit_candidate(self) -> Staged:
        """Commit detached; returns the staged transaction with its `candidate` version."""
        import lance

        known = self
        try:
            dataset = open_version(self.base.ref, self.base.version)
            transaction = _transaction(self, dataset, {BUILD: self.base.build_id})
            name = f"{transaction.read_version}-{transaction.uuid}.txn"
            known = replace(self, candidate_transaction=name)
            version = lance.LanceDataset.commit(dataset, transaction, detached=True).version
        except BaseException:
            discard(known)
            raise
        return replace(known, candidate=version)


def take_base(ref: TableRef, build_id: str) -> Base:
    """Tag main's latest version as the build's base and describe it."""
    dataset = open_main(ref)
    version = dataset.version
    if create_tag(dataset, f"{BASE_PREFIX}{build_id}", version) != version:
        dataset.tags.update(f"{BASE_PREFIX}{build_id}", version)  # left of an earlier attempt
    number = _newest_release(dataset, version)
    return Base(ref, build_id, version, number, len(dataset.get_fragments()))


def _newest_release(dataset: Any, version: int) -> int:
    """The release whose rows `version` holds, tagged or just committed; 0 = none.

    Asking the tags alone would give two releases one number: another build may have committed
    since the reconcile, and not have come to its tags yet.
    """
    finished = {at: n for n, at in release_versions(read_tags(dataset)).items() if at <= version}
    floor = max(finished, default=0)
    committed = (release_number(commit) for commit in walk(dataset, floor, version))
    return max((n for n in committed if n is not None), default=finished.get(floor, 0))


def release_base(ref: TableRef, build_id: str) -> None:
    """Drop the build's base tag; fine where it is gone already."""
    dataset = try_open(ref)
    if dataset is not None:
        try:
            dataset.tags.delete(f"{BASE_PREFIX}{build_id}")
        except ValueError as error:
            if "does not exist" not in str(error):
                raise


def base_tags(ref: TableRef) -> dict[str, int]:
    """Build id → base version of every base tag: dead builds leave theirs behind."""
    dataset = try_open(ref)
    tags = {} if dataset is None else read_tags(dataset)
    return {
        name.removeprefix(BASE_PREFIX): int(tag["version"])
        for name, tag in tags.items()
        if name.startswith(BASE_PREFIX)
    }


def stage_update(
    base: Base, gone: np.ndarray, batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> Staged:
    """Stage the base without the rows at addresses `gone` (uint64), and with `batches`.

    Unchanged rows are not rewritten. `schema` is the table's. Files are written, nothing is
    committed; where this raises, its files are removed again.
    """
    if base.fragments == 0:
        raise ValueError("an empty base has nothing to touch: use stage_overwrite")
    added, written = _write(base, batches, schema, "append")
    staged = Staged(base, False, schema, (), (), added, written, len(gone))
    try:
        dataset = open_version(base.ref, base.version)
        for fragment_id, offsets in _by_fragment(gone):
            left = _fragment_of(dataset, fragment_id).delete_rows(offsets)
            if left is None:
                staged = replace(staged, removed=(*staged.removed, fragment_id))
            else:
                staged = replace(staged, deleted_from=(*staged.deleted_from, _json(left)))
    except BaseException:
        discard(staged)
        raise
    return staged


def stage_overwrite(
    base: Base, batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int | None = None
) -> Staged:
    """Stage `batches` as the whole content: the first content, or another schema.

    `rows`: about how many they are; the fragments are cut so that they can be compacted apart.
    """
    gone = open_version(base.ref, base.version).count_rows()
    size = FRAGMENT_ROWS if rows is None else fragment_rows(rows)
    added, written = _write(base, batches, schema, "overwrite", size)
    return Staged(base, True, schema, (), (), added, written, gone)


def commit(
    staged: Staged,
    properties: dict[str, str],
    tag: str = "prod",
    check: Callable[[], None] | None = None,
) -> int:
    """Commit on main; returns the version. `properties` go with the version.

    `check` is called right before each try: where it raises, nothing is committed.
    Raises `ConflictError` when another writer was first (the staged files stay: discard them),
    `StrangerError` when something other than vecmill changed rows since the base (readers of
    `tag` see neither). After any exception the build is looked up first: committing the same
    fragments twice would double them.
    """
    base = staged.base
    _refuse_strangers(base, tag)
    version = _committed(staged, {**properties, BUILD: base.build_id}, check)
    _refuse_strangers(base, tag)  # an append between the look and the commit does not conflict
    return version


def _committed(staged: Staged, properties: dict[str, str], check: Callable[[], None] | None) -> int:
    import lance

    base = staged.base
    attempt = 0
    while True:
        attempt += 1
        dataset = open_version(base.ref, base.version)
        transaction = _transaction(staged, dataset, properties)
        # With Lance's own retries an overwrite would silently discard a concurrent update.
        retries = {"max_retries": 0} if staged.overwrite else {}
        if check is not None:
            check()  # as late as can be: whoever is taken for dead may have lost its files
        try:
            put = partial(lance.LanceDataset.commit, dataset, transaction, **retries)
            return uninterrupted(put).version
        except Exception as error:
            found = find_build(open_main(base.ref), base.build_id, base.version)
            if found is not None:
                return found
            if is_conflict(error):
                raise ConflictError(
                    f"{base.ref.path}: another writer committed after version {base.version}, "
                    "which this build was planned from; it is planned again"
                ) from error
            if attempt == COMMIT_ATTEMPTS:
                raise
            time.sleep(RETRY_SECONDS * attempt)


def uninterrupted(call: Callable[[], T]) -> T:
    """What `call` returns; a Ctrl-C meanwhile is raised when it has ended.

    Lance stops waiting at once, but the store may carry out the request that is under way: the
    commit would come after its files were taken for discarded, and unlinked.
    """
    interrupt: KeyboardInterrupt | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="commit") as pool:
        future = pool.submit(call)
        while not future.done():
            try:
                wait([future])
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt
    return future.result()


def is_committed(staged: Staged) -> bool:
    """Whether main holds it."""
    main = open_main(staged.base.ref)
    return find_build(main, staged.base.build_id, staged.base.version) is not None


def discard(staged: Staged) -> None:
    """Unlink everything that the staged transaction wrote, unless main holds it."""
    dataset = open_main(staged.base.ref)
    if not is_committed(staged):
        paths = [f"data/{path}" for path in staged.data_files]
        for text in staged.deleted_from:
            fragment = _fragment(text)
            paths.append(fragment.deletion_file.path(fragment.id))
        _unlink(dataset, paths)
    drop_candidate(staged)


def drop_candidate(staged: Staged) -> None:
    """Unlink the detached version (its manifest and transaction), not its data."""
    paths = []
    if staged.candidate is not None:
        paths.append(f"_versions/d{staged.candidate}.manifest")
    if staged.candidate_transaction is not None:
        paths.append(f"_transactions/{staged.candidate_transaction}")
    _unlink(open_main(staged.base.ref), paths)


def _write(
    base: Base,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    mode: str,
    size: int = FRAGMENT_ROWS,
) -> tuple[tuple[str, ...], int]:
    from lance.fragment import write_fragments

    failure: list[BaseException] = []

    def checked() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                if not batch.schema.equals(schema, check_metadata=False):
                    # Lance would fill a missing column with NULL and say nothing
                    raise ValueError(
                        f"a batch to stage has the schema {batch.schema}, expected {schema}"
                    )
                if batch.num_rows:
                    yield batch
        except BaseException as error:
            failure.append(error)
            raise

    # The generator is looked into first: no fragment is wanted where there is no row.
    stream = checked()
    first = next(stream, None)
    if first is None:
        return (), 0

    def rest() -> Iterator[pa.RecordBatch]:
        yield first
        yield from stream

    try:
        fragments = write_fragments(
            pa.RecordBatchReader.from_batches(schema, rest()),
            base.ref.path,
            schema=schema,
            mode=mode,
            max_rows_per_file=size,
            data_storage_version=STORAGE_VERSION,
            storage_options=base.ref.options(),
        )
    except Exception as error:
        if failure:  # Lance reports an error of the stream as text, and unlinks what it wrote
            raise failure[0] from error
        raise
    return tuple(_json(f) for f in fragments), sum(f.physical_rows for f in fragments)


def _transaction(staged: Staged, dataset: Any, properties: dict[str, str]) -> Any:
    from lance.dataset import LanceOperation, Transaction

    added = [_fragment(text) for text in staged.added]
    if staged.overwrite:
        operation: Any = LanceOperation.Overwrite(staged.schema, added)
    else:
        deleted_from = {f.id: f for f in map(_fragment, staged.deleted_from)}
        touched = [
            deleted_from.get(fragment.fragment_id, fragment.metadata)
            for fragment in dataset.get_fragments()
            if fragment.fragment_id not in staged.removed
        ]
        operation = LanceOperation.Update(
            removed_fragment_ids=list(staged.removed),
            updated_fragments=touched,
            new_fragments=added,
            fields_modified=[],
            fields_for_preserving_frag_bitmap=_field_ids(dataset.lance_schema.fields()),
            update_mode="rewrite_rows",
        )
    return Transaction(dataset.version, operation, transaction_properties=properties)


def _field_ids(fields: Iterable[Any]) -> list[int]:
    """All of them, nested ones too: fewer, and new rows can stay invisible to indexes."""
    return [i for field in fields for i in (field.id(), *_field_ids(field.children()))]


def _fragment_of(dataset: Any, fragment_id: int) -> Any:
    fragment = dataset.get_fragment(fragment_id)
    if fragment is None:
        raise VecmillError(
            f"{dataset.uri}: version {dataset.version} has no fragment {fragment_id}, which the "
            "plan removes rows from; the plan is of another version: build again"
        )
    return fragment


def _by_fragment(addresses: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """(fragment id, offsets) of row addresses, by fragment."""
    ordered = np.sort(np.asarray(addresses, dtype=np.uint64))
    fragments = ordered >> OFFSET_BITS
    starts = np.flatnonzero(np.diff(fragments)) + 1
    for group in np.split(ordered, starts):
        if len(group):
            yield int(group[0] >> OFFSET_BITS), (group & OFFSET_MASK).tolist()


def _refuse_strangers(base: Base, tag: str) -> None:
    dataset = open_main(base.ref)
    for version in main_versions(dataset):
        if version > base.version:
            commit = read_commit(dataset, version)
            if commit.restored is None:  # a rollback: the commit conflicts natively
                refuse_stranger(dataset, commit, tag)


def _unlink(dataset: Any, paths: Iterable[str]) -> None:
    session = dataset.new_file_session()
    for path in paths:
        if session.contains(path):
            session.delete_file(path)


def _json(fragment: Any) -> str:
    return json.dumps(fragment.to_json())


def _fragment(text: str) -> Any:
    from lance.fragment import FragmentMetadata

    return FragmentMetadata.from_json(text)
