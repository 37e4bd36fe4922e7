"""Steady-state streaming of training batches, beside plain pyarrow reading of the same token shards and a student's own speed.

One small corpus is built, tokenised and taught by a tiny teacher of 384 dimensions; every reader then gives the same number of batches of
64 pairs: `in process` and `on the fly` are the product's reader, `plain pyarrow` reads the shards' record batches in stored order and pads
them, without mixing or sorting. Ray's feed is timed by docs/decisions/012-streaming.md.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import BertConfig, BertModel

from benchmarks.data.generate import generate
from optical_ray.artifacts import Store
from optical_ray.data.batches import read_batches
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.recipe import Recipe
from optical_ray.stages import Stages, prepare

PAIRS, BATCHES, WARM_UP = 64, 2000, 65
ROWS = 160_000
DIMENSIONS = 384


def measure_stream(work: Path, repeats: int) -> list[dict[str, Any]]:
    """One row per reader: medians over repeats, readers in turn; `ratio` is time over that of plain pyarrow in the same repeat."""
    sharded, online = (_stages(work, shards) for shards in (True, False))
    readers: dict[str, Callable[[], Iterator[Any]]] = {
        "plain pyarrow": lambda: _plain(sharded),
        "in process": lambda: (batch for batch, _ in read_batches(sharded.source(), sharded.plan)),
        "in process, on the fly": lambda: (batch for batch, _ in read_batches(online.source(), online.plan)),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, reader in readers.items():
            taken[name].append(_time(reader, BATCHES if "fly" not in name else BATCHES // 10))
    rows = []
    for name, times in taken.items():
        ratio = statistics.median(own / plain for (_, own), (_, plain) in zip(times, taken["plain pyarrow"], strict=True))
        rate = PAIRS / statistics.median(own for _, own in times)
        start = statistics.median(first for first, _ in times)
        rows.append(_row(name, round(start, 4), round(rate), round(ratio, 2)))
    rate = PAIRS / _train_seconds(sharded)
    rows.append(_row("12-layer 384-d student, forward and backward", "", round(rate, 1), ""))
    return rows


def _row(name: str, start: Any, rate: Any, ratio: Any) -> dict[str, Any]:
    return {"section": "stream", "contender": name, "start_seconds": start, "pairs_per_second": rate, "ratio": ratio}


def _stages(work: Path, shards: bool) -> Stages:
    bitext, teacher = work / "bitext", work / "teacher"
    if not teacher.is_dir():
        generate(bitext, ROWS)
        train_tokenizer(["one two three four five six seven"], TokenizerConfig(vocab_size=200, min_frequency=1), teacher)
        torch.manual_seed(0)
        sizes = {"hidden_size": DIMENSIONS, "num_hidden_layers": 1, "num_attention_heads": 6, "intermediate_size": 64}
        BertModel(BertConfig(vocab_size=200, max_position_embeddings=512, **sizes), add_pooling_layer=False).save_pretrained(teacher)
    recipe = Recipe().override(
        {
            "corpus.sources": [str(bitext)],
            "corpus.cleaning.near_duplicates": "off",
            "teacher.path": str(teacher),
            "teacher.max_tokens": 16,
            "tokenizer.vocab_size": 8000,
            "student.max_tokens": 48,
            "batch.token_shards": shards,
            "training.max_steps": BATCHES + WARM_UP,
        }
    )
    return prepare(recipe, Store(work / "store"))


def _time(reader: Callable[[], Iterator[Any]], batches: int) -> tuple[float, float]:
    """(seconds to the first batch, seconds of a batch after WARM_UP of them)."""
    started = time.perf_counter()
    stream = reader()
    next(stream)
    first = time.perf_counter() - started
    for _ in itertools.islice(stream, WARM_UP - 1):
        pass
    started = time.perf_counter()
    count = sum(1 for _ in itertools.islice(stream, batches))
    return first, (time.perf_counter() - started) / count


def _plain(stages: Stages) -> Iterator[tuple[Any, ...]]:
    """Padded token ids and teacher vectors in stored order, over and over."""
    teacher = stages.teacher_tokens([], None)
    assert stages.tokens.shards is not None
    folders = [stages.tokens.shards[tag] for tag in stages.languages]
    while True:
        for path in itertools.chain.from_iterable(sorted(folder.glob("part-*.arrow")) for folder in folders):
            with pa.memory_map(str(path)) as file:
                reader = pa.ipc.open_file(file)
                for place in range(reader.num_record_batches):
                    yield from _pad(reader.get_batch(place), teacher)


def _pad(block: pa.RecordBatch, teacher: Any) -> Iterator[tuple[Any, ...]]:
    for first in range(0, block.num_rows - PAIRS + 1, PAIRS):
        part = block.slice(first, PAIRS)
        vectors, lengths = teacher.gather(part["english_id"].to_numpy())
        yield (*_matrix(part["ids"].flatten().to_numpy(), np.diff(part["ids"].offsets.to_numpy())), *_matrix(vectors, lengths))


def _matrix(flat: Any, lengths: Any) -> tuple[torch.Tensor, torch.Tensor]:
    mask = np.arange(lengths.max()) < lengths[:, None]
    padded = np.zeros((*mask.shape, *flat.shape[1:]), np.float32 if flat.ndim == 2 else np.int64)
    padded[mask] = flat
    return torch.from_numpy(padded), torch.from_numpy(mask)


def _train_seconds(stages: Stages) -> float:
    """Seconds of forward and backward of one batch, the median of 5."""
    torch.manual_seed(0)
    sizes = {"hidden_size": DIMENSIONS, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536}
    model = BertModel(BertConfig(vocab_size=8000, max_position_embeddings=64, **sizes), add_pooling_layer=False)
    times = []
    for batch, _ in itertools.islice(read_batches(stages.source(), stages.plan), 6):
        started = time.perf_counter()
        model(input_ids=batch.ids_BN, attention_mask=batch.attention_BN.long()).last_hidden_state.sum().backward()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
