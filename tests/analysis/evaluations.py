"""Evaluation folders with ranks made by hand."""

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.artifacts import write_json
from optical_ray.runs.schemas import FORMAT_VERSION, QUERIES


def rows(
    ranks, *, system="student", scorer="maxsim", task="tatoeba", query_language="sw", document_language="en", collection=None, split="test",
    candidates=100, names=None, asks=None, asked=None, among=1,
):  # fmt: skip
    """One row for each rank; None: not found."""
    count = len(ranks)
    found = np.array([np.inf if rank is None else rank for rank in ranks], float)
    names = [f"q{number:03d}" for number in range(count)] if names is None else list(names)
    columns = {
        "system": [system] * count,
        "task": [task] * count,
        "collection": [collection or f"{query_language}-{document_language}"] * count,
        "split": [split] * count,
        "scorer": [scorer] * count,
        "query_language": [query_language] * count,
        "document_language": [document_language] * count,
        "query_id": names,
        "relevant_id": [str(ask) for ask in asks] if asks is not None else [f"answer to {name}" for name in names],
        "rank": pa.array([None if rank is None else int(rank) for rank in ranks], pa.int32()),
        "num_relevant": [1] * count,
        "num_candidates": [candidates] * count,
        "AP": 1 / found,
        "AP@20": np.where(found <= 20, 1 / found, 0),
        "nDCG@10": np.where(found <= 10, 1 / np.log2(1 + found), 0),
        "R@100": np.where(found <= 100, 1.0, 0.0),
        "asked": [zlib.crc32(name.encode()) + 1 for name in names] if asked is None else asked,
        "among": [among] * count,
        "top_candidate_id": ["c"] * count,
    }
    return pa.table(columns, schema=QUERIES)


def write_evaluation(path, *tables):
    path.mkdir(parents=True)
    write_json(path / "evaluation.json", {"format_version": FORMAT_VERSION, "task": "tatoeba"})
    pq.write_table(pa.concat_tables(tables), path / "queries.parquet")
    return path


def random_ranks(seed, count=60, hit=0.5):
    generator = np.random.default_rng(seed)
    return np.where(generator.random(count) < hit, 1, generator.integers(2, 60, count)).tolist()
