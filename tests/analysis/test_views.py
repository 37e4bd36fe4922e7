"""Which rows may be averaged: searches of one task fall into views, and no language stands twice in one."""

import pytest

from optical_ray.analysis.views import Search, View, is_pair, view_searches


def views(*searches):
    found = view_searches(Search(*search) for search in searches)
    return [found[Search(*search)] for search in searches]


def test_into_english_is_the_task_itself_by_query_language():
    assert views(("bitext", "sw-en", "sw", "en"), ("bitext", "ha-en", "ha", "en")) == [View("bitext", "sw"), View("bitext", "ha")]


def test_two_directions_are_two_views_by_the_foreign_language():
    assert views(("tatoeba", "sw-en", "sw", "en"), ("tatoeba", "en-sw", "en", "sw")) == [
        View("tatoeba", "sw"),
        View("tatoeba from en", "sw"),
    ]


def test_from_english_alone_is_the_task_itself():
    assert views(("tatoeba", "en-sw", "en", "sw"), ("tatoeba", "en-ha", "en", "ha")) == [View("tatoeba", "sw"), View("tatoeba", "ha")]


def test_one_pool_of_several_languages_is_read_by_query_language():
    assert views(("lareqa", "all", "sw", "mul"), ("lareqa", "all", "en", "mul")) == [View("lareqa", "sw"), View("lareqa", "en")]


def test_pairs_without_english_stand_apart_and_are_no_language():
    found = views(
        ("ntrex", "sw-ha", "sw", "ha"), ("ntrex", "ha-sw", "ha", "sw"), ("ntrex", "sw-en", "sw", "en"), ("ntrex", "sw-sw", "sw", "sw")
    )
    assert found == [View("ntrex between", "sw→ha"), View("ntrex between", "ha→sw"), View("ntrex", "sw"), View("ntrex monolingual", "sw")]
    assert [is_pair(view.language) for view in found] == [True, True, False, False]


def test_two_collections_of_the_same_languages_are_never_averaged():
    found = views(("clir", "news", "sw", "en"), ("clir", "wiki", "sw", "en"), ("clir", "news", "ha", "en"), ("other", "x", "sw", "en"))
    assert found == [View("clir news", "sw"), View("clir wiki", "sw"), View("clir news", "ha"), View("other", "sw")]


@pytest.mark.parametrize("languages", [("en", "sw", "ha", "mul")])
def test_no_two_searches_share_a_place(languages):
    searches = [
        Search("t", collection, query, document)
        for collection in ("a", "b")
        for query in languages
        if query != "mul"
        for document in languages
    ]
    found = view_searches(searches)
    assert len(set(found.values())) == len(searches)
