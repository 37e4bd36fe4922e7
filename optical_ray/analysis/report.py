"""report/: one page that opens from disk, every figure as SVG and PNG, every table as CSV, the averages as Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from optical_ray.analysis.analyse import Analysis, analyse
from optical_ray.analysis.curves import Point
from optical_ray.analysis.design import shows_test
from optical_ray.analysis.effects import draw_effects
from optical_ray.analysis.figures import draw_k, draw_languages, draw_search, draw_training
from optical_ray.analysis.joined import write_joined
from optical_ray.analysis.load import load_run
from optical_ray.analysis.markdown import to_markdown
from optical_ray.analysis.page import TableView, build_page
from optical_ray.analysis.relations import draw_arms, draw_heat, draw_importance, draw_relations
from optical_ray.analysis.style import Panel
from optical_ray.analysis.summary import summary_table
from optical_ray.errors import RunFolderError
from optical_ray.runs.folder import RunFolder

REPORT, ROWS_FILE = "report.md", "rows.parquet"
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
    summary = summary_table(analysis.summary)
    files: dict[str, bytes] = {"summary.parquet": _parquet(summary)}
    files["summary.csv"] = _csv(summary.column_names, zip(*summary.to_pydict().values(), strict=True))
    files["comparisons.csv"] = _comparisons_csv(analysis)
    files["curves.csv"] = _points_csv(analysis.curves)
    files["languages.csv"] = _points_csv(analysis.languages)
    files["metrics.csv"] = _metrics_csv(analysis)
    files |= {f"{name}.csv": _table_csv(table) for name, table in page.tables.items() if f"{name}.csv" not in files}
    for panel in itertools.chain(*figures.values()):
        files |= _panel_files(panel)
    page.files.extend(sorted([*files, REPORT, ROWS_FILE]))
    files[REPORT] = to_markdown(page).encode()
    template = Environment(
        loader=PackageLoader("optical_ray.analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files["index.html"] = template.get_template("page.html").render(page=page, reload_seconds=reload_seconds).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            scratch = folder / f".{name}.{os.getpid()}"
            scratch.write_bytes(content)
            os.replace(scratch, folder / name)
        chosen = frozenset(trial.trial_id for part in analysis.parts for trial in part.trials if shows_test(part, trial))
        write_joined(analysis.run, analysis.parts, chosen, folder / ROWS_FILE)
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


def _csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([escape_csv(name) for name in columns])
    writer.writerows([escape_csv(value) for value in row] for row in rows)
    return stream.getvalue().encode()


def _table_csv(table: TableView) -> bytes:
    """Cells as shown; a single number keeps all its digits."""
    return _csv(table.columns, ((cell.plain if cell.plain is not None else cell.sort or cell.text for cell in row) for row in table.rows))


def _comparisons_csv(analysis: Analysis) -> bytes:
    columns = (
        "question",
        "first",
        "second",
        "arm",
        "group",
        "languages",
        "queries",
        "sentences",
        "unmatched",
        "measure",
        "first_mean",
        "second_mean",
        "difference",
        "low",
        "high",
        "p_value",
        "p_holm",
        "direction",
    )
    rows = (
        (
            row.kind, row.first, row.second, row.arm, row.group, " ".join(row.languages), row.num_queries, row.num_sentences, row.unmatched,
            row.measure, row.first_mean, row.second_mean, row.difference.estimate, row.difference.low, row.difference.high,
            row.difference.p_value, row.p_holm, row.direction,
        )
        for row in analysis.comparisons
    )  # fmt: skip
    return _csv(columns, rows)


def _points_csv(points: Iterable[Point]) -> bytes:
    columns = ("series", "arm", "k", "group", "language", "languages", "queries", "sentences", "trials", "estimate", "low", "high")
    rows = (
        (
            point.series, point.arm, point.k or None, point.group, point.language, " ".join(point.languages), point.num_queries,
            point.num_sentences, point.num_trials, point.interval.estimate, point.interval.low, point.interval.high,
        )
        for point in points
    )  # fmt: skip
    return _csv(columns, rows)


def _metrics_csv(analysis: Analysis) -> bytes:
    rows = (
        (trial.trial_id, trial.arm, trial.k, name, step, value)
        for trial in analysis.run.trials
        for name, curve in sorted(trial.metrics.items())
        for step, value in curve
    )
    return _csv(("trial_id", "arm", "k", "name", "step", "value"), rows)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _panel_files(panel: Panel) -> dict[str, bytes]:
    return {f"{panel.name}.svg": panel.svg.encode(), f"{panel.name}.png": panel.png}
