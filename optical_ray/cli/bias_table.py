"""One pool of several languages: is an answer found whatever language it is in? As CSV, and as a table of means over languages."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import whole_file
from optical_ray.retrieval.language_bias import LanguageBias

COLUMNS = ("ap", "ap20", "monolingual", "cross_lingual", "same_rank", "cross_rank", "rank_gap", "rank_distance", "own_language_first")
"""Numbers of a `LanguageBias`; what a search was not deep enough to tell is empty."""
HEADERS = ("AP", "AP@20", "own language alone", "one other alone", "rank, own", "rank, other", "gap", "own first")
SHOWN = ("ap", "ap20", "monolingual", "cross_lingual", "same_rank", "cross_rank", "rank_gap", "own_language_first")


@dataclass(frozen=True, slots=True)
class BiasRow:
    """Questions of one language, as one system ranked them."""

    collection: str
    system: str
    scorer: str
    bias: LanguageBias


def write_biases(path: Path, rows: Iterable[BiasRow]) -> None:
    """A line for each question language, system and scorer; then AP among the documents of each language alone, as `pool_ap LANGUAGE`."""
    rows = list(rows)
    pools = sorted({language for row in rows for language in row.bias.pool_ap})
    with whole_file(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["collection", "system", "scorer", "language", "queries", *COLUMNS, *(f"pool_ap {name}" for name in pools)])
        for row in rows:
            numbers = [getattr(row.bias, name) for name in COLUMNS] + [row.bias.pool_ap.get(name) for name in pools]
            told = ["" if number is None else f"{number:.6f}" for number in numbers]
            writer.writerow([row.collection, row.system, row.scorer, row.bias.query_language, row.bias.num_queries, *told])


def print_biases(console: Console, path: Path) -> None:
    """Means over question languages of what `write_biases` wrote."""
    with path.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    for collection in dict.fromkeys(line["collection"] for line in lines):
        table = Table(
            "system",
            "scorer",
            *HEADERS,
            title=f"{collection}: candidates of several languages; means over the questions' languages",
            title_justify="left",
            box=None,
            padding=(0, 2, 0, 0),
        )
        for column in table.columns[:2]:
            column.no_wrap = True
        for system, scorer in dict.fromkeys((line["system"], line["scorer"]) for line in lines if line["collection"] == collection):
            own = [line for line in lines if (line["collection"], line["system"], line["scorer"]) == (collection, system, scorer)]
            table.add_row(system, scorer, *(_mean([line[name] for line in own], name) for name in SHOWN))
        console.print(table)


def _mean(values: list[str], name: str) -> str:
    if "" in values:  # a mean over those that are known would be one over the easy ones
        return "?"
    return f"{np.mean([float(value) for value in values]):.{1 if 'rank' in name else 3}f}"
