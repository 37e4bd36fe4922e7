"""What an evaluation shows: for each view the mean over languages, then a table for each language."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from optical_ray.analysis.averages import ALL, Average

SHOWN = {
    "bitext": ("Success@1", "RR@10"),
    "tatoeba": ("Success@1", "RR@10"),
    "lareqa": ("AP@20", "AP", "Success@1"),
    "mewsli-x": ("AP@20", "Success@1", "R@100"),
}
"""Measures by task, its published one first."""
OTHERWISE = ("nDCG@10", "RR@10", "R@100")
REFERENCES = ("lexical", "bm25", "random", "translated", "translated-bm25", "translation-memory")
"""Systems that do not need the model: below a rule."""
REFERENCE = "dim"
TABLES = 12
"""Languages that are shown one by one; more are one line each, of the first measure."""


def print_averages(console: Console, averages: Sequence[Average]) -> None:
    """Tables of every view."""
    if len({one.system.name in REFERENCES for one in averages}) == 2:
        console.print("Above the rule: the model's own rows; below it, references that need no such model.", style="dim")
    for view in dict.fromkeys(one.system.task for one in averages):
        own = [one for one in averages if one.system.task == view]
        measures = SHOWN.get(view.split()[0], OTHERWISE)
        languages = list(dict.fromkeys(one.language for one in own if one.language != ALL))
        if len(languages) > 1:
            _print_table(console, own, ALL, measures, f"{view}: mean over {len(languages)} languages")
        if len(languages) <= TABLES:
            for language in languages:
                _print_table(console, own, language, measures, f"{view}: {language}")
        else:
            _print_lines(console, own, languages, measures[0], view)


def _print_table(console: Console, averages: Sequence[Average], language: str, measures: Sequence[str], title: str) -> None:
    rows = [one for one in averages if one.language == language]
    queries = sorted({(one.queries, one.asked_for) for one in rows})
    told = "; ".join(f"{count:,} queries for {different:,} different things" for count, different in queries)
    table = Table("system", "scorer", *measures, title=f"{title}, {told}; mean [95 % interval over queries]", title_justify="left")
    for one in sorted(rows, key=lambda one: one.system.name in REFERENCES):  # sorted: what stood first of each kind still does
        if one.system.name in REFERENCES and table.rows and table.rows[-1].style != REFERENCE:
            table.add_section()
        values = (f"{one.values[name].estimate:.3f} [{one.values[name].low:.3f}, {one.values[name].high:.3f}]" for name in measures)
        table.add_row(one.system.name, one.system.scorer, *values, style=REFERENCE if one.system.name in REFERENCES else None)
    console.print(table)


def _print_lines(console: Console, averages: Sequence[Average], languages: Sequence[str], measure: str, view: str) -> None:
    systems = list(dict.fromkeys((one.system.name, one.system.scorer) for one in averages))
    systems = [(name, scorer) for name, scorer in systems if scorer != "maxsim-symmetric"]
    value = {(one.language, one.system.name, one.system.scorer): f"{one.values[measure].estimate:.3f}" for one in averages}
    for first in range(0, len(systems), 6):
        part = systems[first : first + 6]
        headers = (f"{name}\n{scorer}" for name, scorer in part)
        table = Table("language", *headers, title=f"{view}: {measure} by language", title_justify="left")
        for language in languages:
            table.add_row(language, *(value.get((language, *system), "") for system in part))
        console.print(table)
