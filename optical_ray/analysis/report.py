"""report/: one page that opens from disk, every figure as SVG and PNG, every table as CSV, the averages as Parquet."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from optical_ray.analysis.analyse import Analysis, analyse
from optical_ray.analysis.curves import REFERENCES, Point
from optical_ray.analysis.design import shows_test
from optical_ray.analysis.effects import draw_effects
from optical_ray.analysis.figures import draw_k, draw_languages, draw_search, draw_training
from optical_ray.analysis.joined import write_joined
from optical_ray.analysis.load import load_run
from optical_ray.analysis.markdown import to_markdown
from optical_ray.analysis.page import TableView, build_page
from optical_ray.analysis.relations import draw_arms, draw_heat, draw_importance, draw_relations
from optical_ray.analysis.style import Panel
from optical_ray.artifacts import whole_file
from optical_ray.errors import RunFolderError
from optical_ray.runs.folder import RunFolder

REPORT, ROWS_FILE = "report.md", "rows.parquet"
_Csv = tuple[Iterable[str], Iterable[Iterable[Any]]]
_Write = Callable[[Path], object]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs what begins like this (OWASP, CSV injection)."""


def write_report(run: Path | str | Analysis, out: Path | str | None = None, reload_seconds: float | None = None) -> Path:
    """Write the report of a run in whatever state it is.

    Args:
        run: A run folder, or what `analyse` made of it.
        out: Where to; None: `report/` in the run folder. Files of the same names are replaced one by one, others are left alone.
        reload_seconds: How often an open page loads itself again; None: never.

    Returns:
        The page, `<out>/index.html`.

    Raises:
        RunFolderError: not a run folder, of another format version, or `out` cannot be written.
    """
    analysis = run if isinstance(run, Analysis) else analyse(load_run(run))
    folder = Path(out) if out is not None else RunFolder(analysis.run.path).report
    figures = draw_all(analysis)
    page = build_page(analysis, figures)
    tables: dict[str, _Csv] = {
        "comparisons": (COMPARISON_COLUMNS, _comparison_rows(analysis)),
        "curves": (POINT_COLUMNS, _point_rows(analysis.curves)),
        "languages": (POINT_COLUMNS, _point_rows(analysis.languages)),
    }
    tables |= {name: (table.columns, _table_rows(table)) for name, table in page.tables.items() if name not in tables}
    chosen = frozenset(trial.trial_id for part in analysis.parts for trial in part.trials if shows_test(part, trial))
    files: dict[str, _Write] = {f"{name}.csv": partial(_write_csv, *table) for name, table in tables.items()}
    files["summary.csv"] = partial(_write_long_csv, [analysis.summary])
    files["metrics.csv"] = partial(_write_long_csv, _metric_tables(analysis))
    files["summary.parquet"] = partial(pq.write_table, analysis.summary, compression="zstd")
    files[ROWS_FILE] = partial(write_joined, analysis.run, analysis.parts, chosen)
    for panel in itertools.chain(*figures.values()):
        files[f"{panel.name}.svg"] = partial(_write_bytes, panel.standalone.encode())
        files[f"{panel.name}.png"] = partial(_write_bytes, panel.png)
    page.files.extend(sorted([*files, REPORT]))
    files[REPORT] = partial(_write_bytes, to_markdown(page).encode())
    template = Environment(
        loader=PackageLoader("optical_ray.analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = template.get_template("page.html").render(page=page, reload_seconds=reload_seconds)
    files["index.html"] = partial(_write_bytes, html.encode())  # last: a page that loads itself again finds everything else in place
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in files.items():
            with whole_file(folder / name) as scratch:
                write(scratch)
    except OSError as error:
        raise RunFolderError(
            f"{folder}: the report cannot be written ({error.strerror or error}); choose another folder with --out"
        ) from None
    return folder / "index.html"


def draw_all(analysis: Analysis) -> dict[str, list[Panel]]:
    """Every figure that the run allows, by the name of its section."""
    return {
        "k": draw_k(analysis),
        "arms": draw_arms(analysis.arms),
        "languages": draw_languages(analysis),
        "effects": draw_effects(analysis.regression),
        "relations": draw_relations(analysis),
        "training": draw_training(analysis),
        "heat": draw_heat(analysis),
        "search": [*draw_importance(analysis.importances), *draw_search(analysis)],
    }


def escape_csv(value: Any) -> Any:
    """Text that a spreadsheet would run gets a leading apostrophe; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


COMPARISON_COLUMNS = (
    "question", "first", "second", "arm", "group", "languages", "queries", "sentences", "unmatched", "measure", "first_mean", "second_mean",
    "difference", "low", "high", "p_value", "p_holm", "direction",
)  # fmt: skip
POINT_COLUMNS = ("series", "arm", "k", "group", "language", "languages", "queries", "sentences", "trials", "estimate", "low", "high")
METRICS = pa.schema(
    [
        pa.field("trial_id", pa.string()),
        pa.field("arm", pa.string()),
        pa.field("k", pa.int32()),
        pa.field("name", pa.string()),
        pa.field("step", pa.int64()),
        pa.field("value", pa.float64()),
    ]
)


def _write_csv(columns: Iterable[str], rows: Iterable[Iterable[Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([escape_csv(name) for name in columns])
        writer.writerows([escape_csv(value) for value in row] for row in rows)


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _table_rows(table: TableView) -> Iterator[Iterable[Any]]:
    """Cells as shown; a single number keeps all its digits."""
    return ((cell.plain if cell.plain is not None else cell.sort or cell.text for cell in row) for row in table.rows)


def _comparison_rows(analysis: Analysis) -> Iterator[Iterable[Any]]:
    return (
        (
            row.kind, row.first, row.second, row.arm, row.group, " ".join(row.languages), row.num_queries, row.num_sentences, row.unmatched,
            row.measure, row.first_mean, row.second_mean, row.difference.estimate, row.difference.low, row.difference.high,
            row.difference.p_value, row.p_holm, row.direction,
        )
        for row in analysis.comparisons
    )  # fmt: skip


def _point_rows(points: Iterable[Point]) -> Iterator[Iterable[Any]]:
    for point in points:
        k = None if point.k == 0 and point.series in REFERENCES else point.k
        first = (point.series, point.arm, k, point.group, point.language, " ".join(point.languages))
        counts = (point.num_queries, point.num_sentences, point.num_trials)
        yield (*first, *counts, point.interval.estimate, point.interval.low, point.interval.high)


def _metric_tables(analysis: Analysis) -> Iterator[pa.Table]:
    """A table for each trial."""
    yield METRICS.empty_table()
    for trial in analysis.run.trials:
        rows = [(name, step, value) for name, curve in sorted(trial.metrics.items()) for step, value in curve]
        names, steps, values = zip(*rows, strict=True) if rows else ((), (), ())
        own = [(trial.trial_id, pa.string()), (trial.arm, pa.string()), (trial.k, pa.int32())]
        repeated = [pa.repeat(pa.scalar(value, kind), len(rows)) for value, kind in own]
        columns = [*repeated, pa.array(names, pa.string()), pa.array(steps, pa.int64()), pa.array(values, pa.float64())]
        yield pa.Table.from_arrays(columns, schema=METRICS)


def _write_long_csv(tables: Iterable[pa.Table], path: Path) -> None:
    """Millions of rows, by Arrow: every text is in quotes, truths are `true` and `false`. All tables have one schema."""
    found = iter(tables)
    first = next(found)
    with pacsv.CSVWriter(path, first.schema) as writer:
        for table in itertools.chain([first], found):
            for place, field in enumerate(table.schema):
                if pa.types.is_string(field.type):
                    table = table.set_column(place, field, _escape_column(table[place]))
            writer.write_table(table)


def _escape_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`escape_csv` of every text."""
    runs = pc.is_in(pc.utf8_slice_codeunits(column, 0, 1), pa.array(FORMULA_STARTS))
    return pc.if_else(runs, pc.binary_join_element_wise("'", column, ""), column)
