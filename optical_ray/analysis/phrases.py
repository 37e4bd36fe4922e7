"""Numbers and lists in words, the same in terminal, page and sentences."""

from __future__ import annotations

from collections.abc import Iterable

from optical_ray.retrieval.intervals import Interval


def number(value: float | None) -> str:
    """A share with three decimals; `-` where there is none."""
    return "-" if value is None else f"{value:.3f}"


def bracket(interval: Interval) -> str:
    """`0.174 [0.151, 0.197]`"""
    return f"{_plain(interval.estimate)} [{_plain(interval.low)}, {_plain(interval.high)}]"


def signed(interval: Interval) -> str:
    """`+0.174 [+0.151, +0.197]`: for differences."""
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def size_of(interval: Interval) -> str:
    """Of a difference whose direction is said in words: `0.174 [0.151, 0.197]` also where it is negative."""
    if interval.estimate >= 0:
        return bracket(interval)
    return bracket(Interval(-interval.estimate, -interval.high, -interval.low))


def listing(items: Iterable[str]) -> str:
    """`a, b and c`"""
    found = list(items)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""


def plural(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `2 queries`"""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else several}"


def describe_size(num_queries: int, num_sentences: int) -> str:
    """`2,400 queries on 310 English sentences`"""
    queries, sentences = ("query" if num_queries == 1 else "queries"), ("sentence" if num_sentences == 1 else "sentences")
    return f"{num_queries:,} {queries} on {num_sentences:,} English {sentences}"


def languages(names: Iterable[str]) -> str:
    """Up to four by tag, more by their number."""
    found = sorted(names)
    return listing(found) if 0 < len(found) <= 4 else plural(len(found), "language")


def _plain(value: float) -> str:
    return f"{0.0 if abs(value) < 0.0005 else value:.3f}"  # never -0.000
