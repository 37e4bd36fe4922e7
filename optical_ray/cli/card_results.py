"""The results of a model card: means over languages with intervals for every system, and every language beside the floor.

Q queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.analysis.outcomes import index_rows
from optical_ray.analysis.views import is_pair
from optical_ray.recipe import Recipe
from optical_ray.retrieval.intervals import Floats, Interval, QueryBootstrap, Strings
from optical_ray.runs.query_rows import read_query_rows

MEASURES = ("Success@1", "MRR@10")
_SYSTEMS = {
    "student": "this model's queries, the teacher's documents",
    "mean-removed": "the same, the mean token of each language subtracted after training",
    "zero-shot": "the student before training",
    "lexical": "floor: TF-IDF of character 3- and 4-grams",
    "translation-memory": "floor: the nearest training rows, no training",
}


class CardResults:
    """Outcomes by (task, system, scorer) and language, as analysis/views.py tells them apart: [Q, MEASURES], and what is asked for."""

    def __init__(self, values: dict[tuple[str, str, str], dict[str, tuple[Floats, Strings]]], scorer: str) -> None:
        self._values = values
        self._scorer = scorer

    @classmethod
    def read(cls, path: Path, recipe: Recipe) -> CardResults:
        """The test rows of a trial."""
        rows = read_query_rows(path)
        found = index_rows(rows.filter(pc.equal(rows["split"].cast(pa.string()), "test")), MEASURES)
        values = {
            (system.task, system.name, system.scorer): {
                language: (outcomes.values_QM, outcomes.relevant_Q) for language, outcomes in languages.items()
            }
            for system, languages in found.items()
        }
        return cls(values, recipe.evaluation.scorer)

    def describe(self, trained: frozenset[str]) -> str:
        """Means over languages for every system, then every language with this model beside the lexical floor."""
        bootstrap = QueryBootstrap()
        rows = []
        for (task, system, scorer), languages in sorted(self._values.items(), key=lambda item: self._order(item[0])):
            for group, is_trained in (("trained", True), ("not trained", False)):
                if tags := [tag for tag in languages if (tag in trained) == is_trained and not is_pair(tag)]:
                    found = _mean(bootstrap, languages, tags)
                    rows.append([task, system, scorer, f"{group} ({len(tags)})", *map(_bracket, found)])
        known = [f"`{name}`: {meaning}" for name, meaning in _SYSTEMS.items() if any(system == name for _, system, _ in self._values)]
        means = markdown_table(["task", "system", "scorer", "languages", *MEASURES], rows)
        return (
            "Held-out queries; means over languages, with 95 % bootstrap intervals over the relevant "
            f"sentences. {'; '.join(known)}.\n\n{means}\n{self._by_language(bootstrap)}"
        )

    def _order(self, key: tuple[str, str, str]) -> tuple[str, int, str, str]:
        task, system, scorer = key
        known = list(_SYSTEMS)
        return task, known.index(system) if system in known else len(known), system, scorer

    def _by_language(self, bootstrap: QueryBootstrap) -> str:
        text = ""
        for task in sorted({task for task, _, _ in self._values}):
            student = self._values.get((task, "student", self._scorer), {})
            floor = next((found for (name, system, _), found in self._values.items() if (name, system) == (task, "lexical")), {})
            rows = []
            for tag in sorted(student):
                own = _bracket(_mean(bootstrap, student, [tag])[0])
                rows.append([tag, str(len(student[tag][0])), own, _bracket(_mean(bootstrap, floor, [tag])[0]) if tag in floor else "-"])
            table = markdown_table(["language", "queries", "student", "lexical floor"], rows)
            text += f"Success@1 of {task} by language ({self._scorer}):\n\n{table}\n"
        return text


def _mean(bootstrap: QueryBootstrap, languages: Mapping[str, tuple[Floats, Strings]], tags: list[str]) -> list[Interval]:
    return bootstrap.means_over_languages({tag: languages[tag][0] for tag in tags}, {tag: languages[tag][1] for tag in tags})


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; lines end with a newline."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _bracket(interval: Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
