"""One build in a process of its own: `python -m benchmarks.data.contender NAME SOURCE OUT` prints when it was ready, done, and its rows."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

OURS, DEFAULT, ROWS, VECTORS = "optical_ray", "optical_ray, near-duplicates too", "datasets, rules per row", "datasets, our compiled rules"
CONTENDERS = (OURS, DEFAULT, ROWS, VECTORS)


def main() -> None:
    """Time is what the wall clock says, so that the parent's start can be subtracted."""
    name, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if name in (OURS, DEFAULT):
        ready, kept = _ours(source, out, "held-out" if name == DEFAULT else "off")
    else:
        ready, kept = _huggingface(source, out, "rows" if name == ROWS else "vectors")
    print(json.dumps({"ready": ready, "done": time.time(), "kept": kept}))


def _ours(source: Path, out: Path, near_duplicates: str) -> tuple[float, int]:
    from optical_ray.artifacts import Store
    from optical_ray.data.building.pipeline import build_corpus
    from optical_ray.data.corpus_config import SPLITS, CorpusConfig
    from optical_ray.orchestration.data_job import map_tasks
    from optical_ray.orchestration.session import ray_session
    from optical_ray.recipe import Resources

    config = CorpusConfig(sources=(str(source),)).override({"cleaning.near_duplicates": near_duplicates, "min_pairs": 1})
    with ray_session("local", Resources()):
        list(map_tasks(_warm, [{"number": number} for number in range(4)]))  # the workers import what they need
        ready = time.time()
        corpus = build_corpus(Store(out / "store"), config, map_tasks, folder=out / "corpus")
        return ready, sum(sum(corpus.pairs(split).values()) for split in SPLITS)


def _warm(task: dict[str, int]) -> dict[str, int]:
    """Import the chain and compile its functions on a few rows."""
    import pyarrow as pa

    from optical_ray.data.building import harvest  # noqa: F401
    from optical_ray.data.cleaning import clean_batch
    from optical_ray.data.corpus_config import CleaningConfig
    from optical_ray.languages.codes import describe_language

    text = pa.array(["one two three four", "vier fünf sechs"])
    clean_batch(text, text, describe_language("de"), CleaningConfig())
    return task


def _huggingface(source: Path, out: Path, form: str) -> tuple[float, int]:
    import datasets  # noqa: F401

    from benchmarks.data.huggingface import build

    _warm({})  # forked workers inherit what is compiled
    ready = time.time()
    return ready, build(source, out, form)


if __name__ == "__main__":
    main()
