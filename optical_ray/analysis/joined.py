"""Every per-query row of a run with what its trial was: one Parquet file, for whoever wants to compute something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.analysis.design import PartView, varying_fields
from optical_ray.analysis.load import Run, Trial
from optical_ray.errors import RunFolderError
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.query_rows import ROWS, read_query_rows

GROUP_ROWS = 2**16
"""Of a group of the file, at least: groups of few rows take longer to write, and to read."""
TRIAL_COLUMNS = (
    pa.field("trial_id", pa.string()),
    pa.field("part", pa.string()),
    pa.field("arm", pa.string()),
    pa.field("k", pa.int32()),  # bitext languages in training (of pre-training, where the sweep varies only those); null: untrained
    pa.field("seed", pa.int64()),
    pa.field("in_training", pa.bool_()),  # the query's language
    pa.field("training_rows", pa.int64()),  # of the query's language
    pa.field("shows_test", pa.bool_()),  # false: a search's trial that validation did not choose; no choice may rest on its rows
)


def write_joined(run: Run, parts: tuple[PartView, ...], chosen: frozenset[str], path: Path) -> int:
    """Write the rows of the finished trials, one trial at a time: memory does not grow with their number.

    Args:
        run: Loaded.
        parts: Of the run.
        chosen: Ids of the trials that show their test scores.
        path: Of the file.

    Returns:
        The number of rows. Without any the file has its columns and no row.
    """
    part_of = {trial.trial_id: part.name for part in parts for trial in part.trials}
    fields = varying_fields(run.trials)
    varied = [pa.field(name, _type([trial.fields.get(name) for trial in run.trials])) for name in fields if name != "seed"]
    schema = pa.schema([*TRIAL_COLUMNS, *varied, *ROWS])
    count, waiting = 0, []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for trial in run.trials:
            if trial.trial_id in run.outcomes:  # those that are left out have their problems named
                try:
                    rows = read_query_rows(RunFolder(run.path).trial(trial.trial_id).queries)
                except RunFolderError:
                    continue  # it has gone since the run was loaded
                waiting.append(_join(trial, part_of.get(trial.trial_id, ""), trial.trial_id in chosen, rows, schema))
                count += rows.num_rows
                if sum(table.num_rows for table in waiting) >= GROUP_ROWS:
                    writer.write_table(pa.concat_tables(waiting).unify_dictionaries())
                    waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).unify_dictionaries())
    return count


def _join(trial: Trial, part: str, shows_test: bool, rows: pa.Table, schema: pa.Schema) -> pa.Table:
    languages = rows["query_language"].cast(pa.string()).to_pylist()
    counts = (trial.plan or {}).get("rows")
    rows_of = counts if isinstance(counts, dict) else {}
    seed = trial.fields.get("seed")
    constant: dict[str, Any] = {
        "trial_id": trial.trial_id,
        "part": part,
        "arm": trial.arm,
        "k": trial.k,
        "seed": seed if isinstance(seed, int) else None,
        "shows_test": shows_test,
    }
    columns = []
    for field in schema:
        if field.name in rows.column_names:
            columns.append(rows[field.name])
        elif field.name == "in_training":
            columns.append(pa.array([name in (trial.languages or ()) for name in languages], field.type))
        elif field.name == "training_rows":
            columns.append(pa.array([rows_of.get(name) for name in languages], field.type))
        else:
            value = constant[field.name] if field.name in constant else _plain(trial.fields.get(field.name), field.type)
            columns.append(pa.repeat(pa.scalar(value, field.type), rows.num_rows))
    return pa.Table.from_arrays(columns, schema=schema)


def _type(values: list[Any]) -> pa.DataType:
    """Numbers and truths as they are, all else as text."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pa.bool_()
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return pa.float64()
    return pa.string()


def _plain(value: Any, wanted: pa.DataType) -> Any:
    if value is None or not pa.types.is_string(wanted):
        return value
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
