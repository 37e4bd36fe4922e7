"""What a build found out about every language, added up from the tasks' summaries as they come in: the manifest's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optical_ray.data.building.harvest import HarvestSummary
from optical_ray.data.building.settle import SettleSummary
from optical_ray.data.corpus_config import SPLITS
from optical_ray.languages.codes import describe_language

LENGTHS = ("english_words", "english_chars", "text_words", "text_chars")
"""What is counted of every row: whitespace-separated words and characters of both sides."""


class CorpusFacts:
    """Counts by language; its size does not grow with the corpus."""

    def __init__(self) -> None:
        self._codes: dict[str, list[str]] = {}
        self._read: dict[str, Counter[str]] = {}
        self._dropped: dict[str, Counter[str]] = {}
        self._pairs: dict[str, dict[str, Counter[str]]] = {}
        self._lengths: dict[str, dict[str, Counter[int]]] = {}

    def add_harvest(self, summary: HarvestSummary) -> None:
        """Add a chunk; codes are listed in the order of the calls."""
        for tag, found in summary["languages"].items():
            codes = self._codes.setdefault(tag, [])
            codes += [code for code in found["codes"] if code not in codes]
            self._read.setdefault(tag, Counter()).update(found["read"])
            self._dropped.setdefault(tag, Counter()).update(found["dropped"])

    def add_settled(self, summary: SettleSummary) -> None:
        """Add a bucket, in any order."""
        for tag, dropped in summary["dropped"].items():
            self._dropped[tag].update(dropped)
        for tag, by_split in summary["sources"].items():
            for split, sources in by_split.items():
                self._pairs.setdefault(tag, {}).setdefault(split, Counter()).update(sources)
        for tag, lengths in summary["lengths"].items():
            for name, counts in lengths.items():
                found = self._lengths.setdefault(tag, {}).setdefault(name, Counter())
                found.update({int(length): count for length, count in counts.items()})

    def describe(self) -> dict[str, dict[str, Any]]:
        """Plain data of every language, by tag, sorted."""
        return {tag: self._describe(tag) for tag in sorted(self._read)}

    def _describe(self, tag: str) -> dict[str, Any]:
        language = describe_language(tag)
        pairs = {split: dict(sorted(self._pairs.get(tag, {}).get(split, Counter[str]()).items())) for split in SPLITS}
        lengths = {name: self._lengths.get(tag, {}).get(name, Counter[int]()) for name in LENGTHS}
        read, kept = self._read[tag], sum(sum(counts.values()) for counts in pairs.values())
        dropped = {rule: count for rule, count in sorted(self._dropped[tag].items()) if count}
        assert read.total() == kept + sum(dropped.values()), f"{tag}: {read.total()} rows read, {kept} kept, {dropped} dropped"
        return {
            "name": language.name,
            "script": language.script,
            "codes": self._codes[tag],
            "read": dict(sorted(read.items())),
            "kept": kept,
            "pairs": pairs,
            "dropped": dropped,
            "totals": {name: sum(length * count for length, count in counts.items()) for name, counts in lengths.items()},
            "medians": {name: median_of(counts) for name, counts in lengths.items()},
        }


def median_of(counts: Mapping[int, int]) -> float:
    """Median of lengths given as length -> rows; 0 of none."""
    total, seen, middle = sum(counts.values()), 0, []
    for length in sorted(counts):
        for place in {(total - 1) // 2, total // 2}:
            if seen <= place < seen + counts[length]:
                middle.append(length)
        seen += counts[length]
    return sum(middle) / len(middle) if middle else 0.0


def nothing_left(sources: Sequence[str], min_pairs: int, languages: Mapping[str, Mapping[str, Any]], bad_rows: Sequence[str]) -> str:
    """Why no language is left, in one line.

    Args:
        sources: What was read.
        min_pairs: Fewest rows of a language.
        languages: Facts of those that had rows.
        bad_rows: Damage that was skipped, a line each.
    """
    read = sum(sum(facts["read"].values()) for facts in languages.values())
    most = max((facts["kept"] for facts in languages.values()), default=0)
    dropped = Counter[str]()
    for facts in languages.values():
        dropped.update(facts["dropped"])
    rules = ", ".join(f"{rule} dropped {count}" for rule, count in dropped.most_common(3)) or "no rule dropped any"
    if not read and bad_rows:
        return f"{', '.join(sources)}: nothing could be read ({bad_rows[0]}); mend it, or name another source"
    return (
        f"{', '.join(sources)}: nothing left after cleaning: {read} rows of {len(languages)} languages read, "
        f"at most {most} of one kept, min_pairs is {min_pairs}; lower min_pairs or switch off a rule ({rules})"
    )
