"""optical report RUN"""

from __future__ import annotations

import argparse
from pathlib import Path

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.load import load_run
from optical_ray.analysis.report import write_report
from optical_ray.analysis.table import render_table
from optical_ray.cli.progress import make_console


def report(options: argparse.Namespace) -> None:
    """Table on the terminal, page and figures in the folder."""
    print_report(options.folder, options.out)


def print_report(run: Path, out: Path | None = None) -> Path:
    """Print the run's table, write its report, return the page."""
    console = make_console()
    analysis = analyse(load_run(run))
    console.print(render_table(analysis))
    page = write_report(analysis, out)
    console.print(f"Report: {page}", soft_wrap=True)
    return page
