"""optical report RUN"""

from __future__ import annotations

import argparse

from rich.console import Console

from optical_ray.analysis import render_table, write_report


def report(options: argparse.Namespace) -> None:
    """Table on the terminal, page and figures in the folder."""
    console = Console()
    console.print(render_table(options.folder))
    page = write_report(options.folder, options.out)
    console.print(f"Report: {page}", soft_wrap=True)
