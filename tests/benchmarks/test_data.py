"""The benchmark of the data path compares like with like."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.data.generate import LANGUAGES, SHARES, generate
from benchmarks.data.huggingface import is_bitext, normalise
from benchmarks.data.memory import run_measured
from optical_ray.data.cleaning import clean_batch
from optical_ray.data.corpus_config import CleaningConfig
from optical_ray.languages.codes import describe_language


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bitext")
    generate(folder, 800)
    return folder


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_rules_as_one_would_write_them_keep_the_rows_that_ours_keep(source, tag):
    table = pa.concat_tables([pq.ParquetFile(path).read() for path in sorted((source / f"lang={tag}").glob("*.parquet"))]).combine_chunks()
    cleaned = clean_batch(table["english"].chunk(0), table["text"].chunk(0), describe_language(tag), CleaningConfig())
    pairs = [(normalise(row["english"]), normalise(row["text"])) for row in table.to_pylist()]
    kept = [row for row, pair in enumerate(pairs) if is_bitext(*pair, describe_language(tag).script)]
    assert cleaned.rows.tolist() == kept
    assert 0.5 < len(kept) / len(pairs) < 1 - sum(SHARES.values()) / 3  # some of every kind of fault was found


def test_generated_bitext_is_the_same_for_one_seed(source, tmp_path):
    generate(tmp_path, 800)
    for path in source.rglob("*.parquet"):
        assert pq.ParquetFile(path).read().equals(pq.ParquetFile(tmp_path / path.relative_to(source)).read())


def test_memory_is_that_of_a_process_and_what_it_started(tmp_path):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; x = bytearray(60_000_000); time.sleep(1)'])"
    done = run_measured(["python3", "-c", code], tmp_path)
    assert 60e6 < done.peak_bytes < 160e6
    with pytest.raises(RuntimeError, match="exit 3"):
        run_measured(["python3", "-c", "raise SystemExit(3)"], tmp_path)
