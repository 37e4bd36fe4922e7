"""`optical data build | show | sample` of text alone."""

import pytest

from optical_ray.cli import main
from optical_ray.data.corpus import Corpus


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "sw.txt").write_text("".join(f"Mwalimu anasoma kitabu cha {i} leo\n" for i in range(30)))
    (tmp_path / "texts" / "news.en").write_text("".join(f"The teacher reads book number {i}\n" for i in range(20)))


QUIET = ("min_pairs=1", "cleaning.near_duplicates=off", "--in-process")


def test_text_is_built_shown_sampled_and_drawn_as_rows_without_an_english_side(tmp_path, capsys):
    assert call("data", "build", "texts", "kind=text", "--out", "corpus", *QUIET) == 0
    said = capsys.readouterr().out
    assert "2 languages, 50 rows (" in said and "Left out (fewer than 1 rows)" in said
    assert "pairs" not in said and "English sentences" not in said
    assert Corpus.open(tmp_path / "corpus").kind == "text"
    assert call("data", "show", "corpus", "--verify", "--figure", "corpus.svg") == 0
    said = capsys.readouterr().out
    assert "2 languages, 50 rows (" in said and "Verified: 6 files" in said and "pairs" not in said
    assert "<!-- Rows: dark train" in (tmp_path / "corpus.svg").read_text()
    assert call("data", "sample", "corpus", "--lang", "swa", "--rows", "3") == 0
    said = capsys.readouterr().out
    assert said.split()[:2] == ["Swahili", "source"] and said.count("Mwalimu anasoma") == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("build", "texts", "--in-process"), "texts: no bitext among its 2 files"),
        (("build", "kind=text", "--in-process"), "source 'catalogs': holds pairs, and this corpus is of text alone (kind=text)"),
        (("build", "texts", "kind=words", "--in-process"), "kind: Input should be 'bitext' or 'text'"),
        (("show", "corpus", "kind=text", "min_pairs=2"), "built by other rules (min_pairs is 1, not 2)"),
    ],
)
def test_what_does_not_work_is_one_line(capsys, arguments, says):
    assert call("data", "build", "texts", "kind=text", "--out", "corpus", *QUIET) == 0
    capsys.readouterr()
    assert call("data", *arguments) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
