"""Writers of small files in the forms of released data sets, shared by the tests of this folder."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.retrieval.collection import Collection, Documents

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"  # beside the checkout, where there is one


def write_text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def write_jsonl(path: Path, *rows: object) -> Path:
    return write_text(path, *(json.dumps(row, ensure_ascii=False) for row in rows))


def write_table(path: Path, **columns: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def write_bitext(folder: Path, code: str, english: list[str], text: list[str]) -> None:
    write_table(folder / f"lang={code}" / "part-0.parquet", lang=[code] * len(text), english=english, text=text)


def all_texts(documents: Documents) -> dict[str, tuple[str, str]]:
    """Id -> (language, text) of documents that are one passage each."""
    found = {}
    for block in documents.blocks():
        assert block.owner.tolist() == list(range(len(block)))
        found |= dict(zip(block.ids, zip(block.languages, block.passages, strict=True), strict=True))
    return found


def relevant(collection: Collection) -> dict[str, set[str]]:
    return {query: {document for document, grade in graded.items() if grade > 0} for query, graded in collection.qrels.items()}


def check_contract(collection: Collection) -> None:
    """What every collection promises."""
    queries, ids = collection.queries, {name for block in collection.documents.blocks() for name in block.ids}
    assert len(queries) == len(set(queries.ids)) == len(queries.texts) == len(queries.languages) == len(queries.clusters) > 0
    assert all(text.strip() for text in queries.texts)
    assert len(ids) == len(collection.documents)
    assert collection.qrels.keys() == set(queries.ids)
    assert all(graded.keys() <= ids and max(graded.values()) > 0 for graded in collection.qrels.values())
    assert all(block.languages and set(block.languages) <= set(collection.documents.languages) for block in collection.documents.blocks())
    if collection.candidates is not None:
        assert collection.candidates.keys() == set(queries.ids)
