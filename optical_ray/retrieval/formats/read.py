"""The one way in: a task's name and a path -> its collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from optical_ray.errors import ConfigError, DataError
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.beir import read_beir
from optical_ray.retrieval.formats.bitext import read_bitext
from optical_ray.retrieval.formats.clirmatrix import read_clirmatrix
from optical_ray.retrieval.formats.irds import read_irds
from optical_ray.retrieval.formats.lareqa import read_lareqa
from optical_ray.retrieval.formats.mewsli import read_mewsli
from optical_ray.retrieval.formats.mmarco import read_mmarco
from optical_ray.retrieval.formats.options import TASKS, FormatOptions, Task
from optical_ray.retrieval.formats.tables import read_tables
from optical_ray.retrieval.formats.tatoeba import read_tatoeba
from optical_ray.retrieval.formats.trec import read_trec
from optical_ray.retrieval.formats.wikiclir import read_wikiclir

_READERS: dict[Task, Callable[[Path, FormatOptions], Iterator[Collection]]] = {
    "bitext": read_bitext,
    "tatoeba": read_tatoeba,
    "lareqa": read_lareqa,
    "mewsli-x": read_mewsli,
    "trec": read_trec,
    "beir": read_beir,
    "parquet": lambda path, options: read_tables("parquet", path, options),
    "mmarco": read_mmarco,
    "wikiclir": read_wikiclir,
    "clirmatrix": read_clirmatrix,
    "ir_datasets": read_irds,
}


def read_collections(task: str, path: Path, options: FormatOptions | None = None) -> list[Collection]:
    """Read a data set as it was released.

    Args:
        task: One of TASKS.
        path: Its folder; of `ir_datasets`, an id.
        options: What of it; None: all defaults.

    Returns:
        At least one collection, in an order that depends on names alone.

    Raises:
        ConfigError: no such task.
        DataError: files are missing (the message says where they come from), or bad and `on_bad` is `refuse`.
        LanguageError: an option names no language.
    """
    if task not in TASKS:
        raise ConfigError(f"no task {task!r}; there are {', '.join(TASKS)}")
    options = options or FormatOptions()
    if options.split == "valid" and (task in ("tatoeba", "wikiclir") or (task == "lareqa" and not (path / "corpus.parquet").is_file())):
        raise DataError(
            f"{path}: {task} has no dev set, so there is no split valid to read; leave --split out, or take other data to choose on"
        )
    if path.name in ("", ".."):  # the folder's name names its collections
        path = path.resolve()
    collections = list(_READERS[task](path, options))
    if not collections:
        raise DataError(f"{path}: nothing of {task} is left to read; check languages, pairs and directions")
    return collections
