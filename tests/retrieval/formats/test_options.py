import sys
from pathlib import Path

import pytest

from optical_ray.errors import ConfigError, DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections


def test_without_the_package_an_id_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(ConfigError, match=r"pip install optical-ray\[ir-datasets\]"):
        read_collections("ir_datasets", tmp_path)


def test_other_tasks_are_named():
    with pytest.raises(ConfigError, match="no task 'nope'; there are bitext, tatoeba, lareqa, mewsli-x, trec"):
        read_collections("nope", Path("x"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pairs", ["sw-en"], "'sw-en' is no pair; expected QUERIES:DOCUMENTS"),
        ("encoding", "latin-99", "'latin-99' is no encoding"),
        ("passage_overlap", 5, "passages of 5 words cannot share 5"),
        ("topic_fields", [], "at least 1"),
    ],
)
def test_options_that_make_no_sense_are_told(field, value, message):
    with pytest.raises(ConfigError, match=message):
        FormatOptions.parse({"passage_words": 5, field: value}, "formats")


@pytest.mark.parametrize("task", ["tatoeba", "wikiclir", "lareqa"])
def test_a_benchmark_without_a_dev_set_has_no_valid_split(task, tmp_path):
    with pytest.raises(DataError, match=f"{task} has no dev set, so there is no split valid"):
        read_collections(task, tmp_path, FormatOptions(split="valid"))
