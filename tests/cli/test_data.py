"""`optical data build | show | sample` as a user meets them."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from optical_ray.cli import main
from optical_ray.data.corpus import Corpus
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.tokenizer import train_tokenizer

PAIRS = [
    (f"The {a} teacher reads the {b} book to the {c}", f"Mwalimu {a} {b} {c} anasoma kitabu leo")
    for a in ("old", "tall", "new")
    for b in ("red", "long", "small", "first")
    for c in ("child", "farmer", "doctor", "king", "woman")
]
HINDI = "अध्यापक आज {} किताब पढ़ता है और {} को"
QUIET = ("min_pairs=1", "cleaning.near_duplicates=off", "--in-process")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture
def sources(tmp_path):
    """Five formats: Moses (gz), TSV, JSONL, TMX and Parquet are what a colleague sends; here the first four, in one folder."""
    (tmp_path / "opus.en-sw.en.gz").write_bytes(gzip.compress("".join(f"{e}\n" for e, _ in PAIRS[:30]).encode()))
    (tmp_path / "opus.en-sw.sw.gz").write_bytes(gzip.compress("".join(f"{t}\n" for _, t in PAIRS[:30]).encode()))
    (tmp_path / "mine.tsv").write_text("".join(f"{e}\t{t} sana\n" for e, t in PAIRS[20:40]))
    (tmp_path / "more.jsonl").write_text(
        "".join(json.dumps({"translation": {"en": e, "hi": HINDI.format(i, i)}}) + "\n" for i, (e, _) in enumerate(PAIRS))
    )
    units = "".join(
        f'<tu><tuv xml:lang="EN"><seg>{e}</seg></tuv><tuv xml:lang="ha"><seg>Malami {i} ya karanta</seg></tuv></tu>'
        for i, (e, _) in enumerate(PAIRS)
    )
    (tmp_path / "memory.tmx").write_text(f'<?xml version="1.0"?><tmx version="1.4"><header srclang="en"/><body>{units}</body></tmx>')
    return ["opus.en-sw,name=opus,licence=CC-BY-4.0", "mine.tsv,lang=swa", "more.jsonl", "memory.tmx"]


def test_several_formats_become_one_corpus_that_is_shown_sampled_and_drawn(sources, tmp_path, capsys):
    assert call("data", "build", *sources, "--out", "corpus", *QUIET) == 0
    said = capsys.readouterr().out
    assert "3 languages, 160 pairs" in said and "Train on it with corpus.path=corpus" in said
    assert "One language under several codes: sw (sw, swa)" in said
    facts = Corpus.open(tmp_path / "corpus").manifest["facts"]
    assert facts["languages"]["sw"]["dropped"] == {"duplicate": 10}
    assert facts["licences"] == {"opus": "CC-BY-4.0", "mine": None, "more": None, "memory": None}
    assert call("data", "show", "corpus", "--verify", "--figure", "corpus.svg") == 0
    said = capsys.readouterr().out
    assert "Swahili" in said and "Atlantic-Congo" in said and "CC-BY-4.0, not stated" in said and "Verified: " in said
    assert (tmp_path / "corpus.svg").read_text().startswith("<?xml")
    train_tokenizer(["mwalimu anasoma kitabu"], TokenizerConfig(vocab_size=100, min_frequency=1), tmp_path / "tokenizer")
    assert call("data", "show", "corpus", "--tokenizer", "tokenizer") == 0
    said = capsys.readouterr().out
    assert "Tokens by tokenizer" in said
    rows = said[said.index("Tokens by") :].splitlines()[2:5]
    unknown = {line.split()[0]: line.split()[-1] for line in rows}
    assert float(unknown["hi"].rstrip("%")) > 50  # no Devanagari in the tokenizer's alphabet
    assert float(unknown["sw"].rstrip("%")) < 30
    assert call("data", "sample", "corpus", "--lang", "hin", "--rows", "3") == 0
    said = capsys.readouterr().out
    assert said.count("teacher reads") == 3 and "more" in said


def test_names_and_sentences_are_printed_as_they_are(tmp_path, capsys):
    (tmp_path / "lang=sw").mkdir()
    rows = [(f"{english} [/x] :smile:", text) for english, text in PAIRS]
    (tmp_path / "lang=sw" / "a.tsv").write_text("".join(f"{e}\t{t}\n" for e, t in rows))
    assert call("data", "build", "lang=sw/*.tsv,name=[/n],licence=[bold]mine", "--out", "out[red]:smile:", *QUIET) == 0
    assert "Train on it with corpus.path=out[red]:smile:\n" in capsys.readouterr().out
    assert call("data", "show", "out[red]:smile:") == 0
    assert "Licences: [/n] [bold]mine" in capsys.readouterr().out
    assert call("data", "sample", "out[red]:smile:", "--lang", "sw", "--rows", "1") == 0
    assert "[/x] :smile:" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "corpus", "--lang", "sw", "--rows", "0"], "--rows 0: expected 1 or more"),
        (["build", "mine.tsv,lang=sw", "--out", "x\udcff"], "not UTF-8"),
        (["build", "lang=zu/*.tsv", "--out", "x"], "lang=zu/*.tsv"),
        (["build", "min_pears=3", "--out", "x"], "min_pears"),
        (["build", "mine.tsv,lang=sw", "--out", "/proc/x"], "/proc: cannot be written"),
    ],
)
def test_a_wrong_argument_is_one_line(sources, arguments, said, capsys):
    assert call("data", *arguments, *(QUIET if arguments[0] == "build" else ())) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_building_twice_is_safe_and_other_rules_are_refused(sources, capsys):
    assert call("data", "build", *sources, "--out", "corpus", *QUIET) == 0
    assert call("data", "build", *sources, "--out", "corpus", *QUIET) == 0
    capsys.readouterr()
    assert call("data", "build", *sources, "--out", "corpus", *QUIET, "cleaning.min_english_words=4") == 2
    assert capsys.readouterr().err == (
        "optical: corpus: was built otherwise (cleaning.min_english_words is 3, not 4); choose another folder, or delete this one\n"
    )


def test_bad_rows_are_refused_by_place_or_counted_and_listed(tmp_path, capsys):
    lines = [f"{e}\t{t}" for e, t in PAIRS]
    lines[11] = "only one column"
    (tmp_path / "sw.tsv").write_text("\n".join(lines) + "\n")
    assert call("data", "build", "sw.tsv", "--out", "corpus", *QUIET) == 2
    assert "sw.tsv, line 12: " in (said := capsys.readouterr().err) and "--on-bad-row=skip" in said and said.count("\n") == 1
    assert call("data", "build", "sw.tsv", "--out", "corpus", *QUIET, "--on-bad-row=skip") == 0
    said = capsys.readouterr().out
    assert "Bad rows skipped: 1 " in said and "sw.tsv, line 12" in said and "59 pairs" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("build", "nowhere.tsv"), "nowhere.tsv: no such file or folder"),
        (("build", "min_pair=3"), "CorpusConfig has no field 'min_pair'"),
        (("build", "x.tsv,langue=sw"), "langue"),
        (("show", "min_pairs=77"), "no corpus of catalogs with these settings; build it with `optical data build min_pairs=77`"),
        (("sample", "corpus", "--lang", "klingonish"), "'klingonish' is no language code"),
        (("sample", "corpus", "--lang", "yo"), "no language 'yo' in this corpus, which has sw"),
        (("build", "corpus"), "corpus: is a corpus already"),
        (("show", "corpus", "min_pairs=9"), "built by other rules (min_pairs is 1, not 9)"),
        (("show", "corpus", "--figure", "x.gif"), "x.gif: a figure is written as .svg, .png, .pdf"),
    ],
)
def test_what_does_not_work_is_one_line(tmp_path, capsys, arguments, says):
    (tmp_path / "sw.tsv").write_text("".join(f"{e}\t{t}\n" for e, t in PAIRS))
    assert call("data", "build", "sw.tsv", "--out", "corpus", *QUIET) == 0
    capsys.readouterr()
    assert call("data", *arguments) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_an_unwritable_or_full_target_is_one_line(sources, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert call("data", "build", *sources, "--out", "file/corpus", *QUIET) == 2
    assert "file: cannot be written (File exists)" in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    assert call("data", "build", *sources, "--out", "corpus", *QUIET) == 2
    assert "0.0 GB free, the build needs up to" in capsys.readouterr().err
    assert not (tmp_path / "corpus").exists()


def test_a_build_that_was_killed_half_way_leaves_nothing_whole_and_is_finished_by_the_next(tmp_path, capsys):
    for code in ("sw", "ha", "yo", "so", "rw", "ny", "zu", "xh"):
        (tmp_path / "many" / f"lang={code}").mkdir(parents=True)
        (tmp_path / "many" / f"lang={code}" / "a.tsv").write_text("".join(f"{e}\t{t} {i}\n" for i in range(50) for e, t in PAIRS))
    command = [sys.executable, "-c", "from optical_ray.cli import main; main()", "data", "build", "many", "--out", "corpus", *QUIET]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob(".corpus.scratch/*/harvest/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "corpus").exists()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".corpus.scratch/*/harvest/*.json")}
    assert len(done) >= 2
    assert call("data", "build", "many", "--out", "corpus", *QUIET) == 0
    assert "8 languages, 480 pairs" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "many"] or (tmp_path / "artifacts").exists()
