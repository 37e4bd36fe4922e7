"""Which rows may be averaged: a task holds several searches, and a mean over Swahili into English and English into Swahili says nothing.

A task's rows fall into views, by direction and, where the same languages are searched several times, by collection; in a view every
language stands once, and a mean is one over languages.

    into English        tatoeba                 sw (asks in Swahili)
    from English        tatoeba from en         sw (is asked for)
    one pool of several lareqa                  sw (asks)
    one language        miracl monolingual      sw
    any other pair      ntrex between           sw→ha
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

ENGLISH, SEVERAL, ARROW = "en", "mul", "→"
Direction = Literal["into en", "mul", "from en", "monolingual", "between"]


class Search(NamedTuple):
    """Where a row comes from."""

    task: str
    collection: str
    query_language: str
    document_language: str

    @property
    def direction(self) -> Direction:
        if self.document_language == SEVERAL:
            return "mul"
        if self.query_language == self.document_language:
            return "monolingual"
        if self.document_language == ENGLISH:
            return "into en"
        return "from en" if self.query_language == ENGLISH else "between"

    @property
    def language(self) -> str:
        """What the view's rows are told apart by."""
        if self.direction == "between":
            return f"{self.query_language}{ARROW}{self.document_language}"
        return self.document_language if self.direction == "from en" else self.query_language


class View(NamedTuple):
    """A row's place: means are taken over the languages of one task's view."""

    task: str
    """The task, with the direction where it has several, and the collection where it has several of the same languages."""
    language: str


def view_searches(searches: Iterable[Search]) -> dict[Search, View]:
    """The view of each search, among those that are looked at together."""
    found = sorted(set(searches))
    views = {}
    for task in sorted({search.task for search in found}):
        own = [search for search in found if search.task == task]
        directions = {search.direction for search in own}
        alike: dict[tuple[str, str], set[str]] = {}
        for search in own:
            alike.setdefault((search.query_language, search.document_language), set()).add(search.collection)
        several = any(len(collections) > 1 for collections in alike.values())
        for search in own:
            name = f"{task} {search.collection}" if several else task
            main = len(directions) == 1 or search.direction == "into en"
            views[search] = View(name if main else f"{name} {search.direction}", search.language)
    return views


def is_pair(language: str) -> bool:
    """Whether what stands for a language is two of them, neither of them English."""
    return ARROW in language
