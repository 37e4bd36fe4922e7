"""optical report RUN"""

from __future__ import annotations

import argparse
from pathlib import Path

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.load import load_run
from optical_ray.analysis.pareto import describe_fronts
from optical_ray.analysis.report import write_report
from optical_ray.analysis.table import render_table
from optical_ray.cli.progress import make_console


def report(options: argparse.Namespace) -> None:
    """Table on the terminal, page and figures in the folder."""
    print_report(options.folder, options.out, options.baseline)


def print_report(run: Path, out: Path | None = None, baseline: str | None = None) -> Path:
    """Print the run's table, write its report, return the page."""
    console = make_console()
    loaded = load_run(run)
    analysis = analyse(loaded, baseline=baseline)
    console.print(render_table(analysis))
    for line in describe_fronts(loaded):
        console.print(line, soft_wrap=True, highlight=False)
    page = write_report(analysis, out)
    console.print(f"Report: {page}", soft_wrap=True)
    return page
