"""The same corpus by Hugging Face `datasets`: what people write today, and the strongest form of it.

rows      per-row functions in batched map and filter, two processes; the rules of optical_ray/data/cleaning.py as one would write them
vectors   our own compiled rules inside their batched map over Arrow tables, two processes

Both then drop repeated English sentences per language with a set, which `filter` can keep in one process only, assign splits by hash and
write Parquet. Neither shuffles, looks for near-duplicates nor numbers the English sentences, which ours does.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import regex

from benchmarks.data.generate import LANGUAGES
from optical_ray.data.cleaning import clean_batch
from optical_ray.data.corpus_config import SPLITS, CleaningConfig, SplitConfig
from optical_ray.data.splits import hash_keys, split_key, split_keys, splits_of
from optical_ray.languages.codes import describe_language

PROCESSES = 2
BATCH = 10_000
PLACEHOLDER = re.compile(r"[{}\\]|%[(\w%]|\$[A-Za-z_]|\$\S+\$")
TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
URL = re.compile(r"(?:https?://|www\.)\S+")
INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
WORD = re.compile(r"[A-Za-z]['’-]?[A-Za-z]|^\W*[AaI]\W*$")
NO_LETTERS = regex.compile(r"\P{L}+")
OTHER_SCRIPTS = {script: regex.compile(rf"\P{{Script={script}}}+") for script in ("Latn", "Deva", "Arab", "Ethi")}


def build(source: Path, out: Path, form: str) -> int:
    """Build with `rows` or `vectors`; returns the rows kept."""
    import datasets

    datasets.disable_progress_bars()
    kept = 0
    for tag in LANGUAGES:
        files = sorted(str(path) for path in (source / f"lang={tag}").glob("*.parquet"))
        loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(out / "cache"))
        if form == "rows":
            arguments = {"batched": True, "batch_size": BATCH, "num_proc": PROCESSES}
            cleaned = loaded.map(normalise_batch, **arguments).filter(keep_batch, fn_kwargs={"tag": tag}, **arguments)
            keyed = cleaned.map(add_keys, **arguments)
        else:
            keyed = loaded.with_format("arrow").map(
                clean_vectors,
                batched=True,
                batch_size=BATCH,
                num_proc=PROCESSES,
                fn_kwargs={"tag": tag},
                remove_columns=loaded.column_names,
            )
            keyed = keyed.with_format(None)
        seen: set[str] = set()

        def first(key: str, seen: set[str] = seen) -> bool:
            new = key not in seen
            seen.add(key)
            return new

        unique = keyed.filter(lambda keys, first=first: [first(key) for key in keys], input_columns="key", batched=True, batch_size=BATCH)
        for split in SPLITS:
            part = unique.filter(lambda splits, split=split: [one == split for one in splits], input_columns="split", batched=True)
            part.to_parquet(str(out / f"lang={tag}" / f"{split}.parquet"))
            kept += len(part)
    return kept


def normalise_batch(batch: dict[str, list[str]]) -> dict[str, list[str]]:
    return {side: [normalise(text) for text in batch[side]] for side in ("english", "text")}


def normalise(text: str) -> str:
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", INVISIBLE.sub("", text))
    if "<" in text:
        text = TAG.sub(" ", text)
    if "://" in text or "www." in text:
        text = URL.sub(" ", text)
    return " ".join(text.split())


def keep_batch(batch: dict[str, list[str]], tag: str) -> list[bool]:
    script = describe_language(tag).script
    return [is_bitext(english, text, script) for english, text in zip(batch["english"], batch["text"], strict=True)]


def is_bitext(english: str, text: str, script: str) -> bool:
    if PLACEHOLDER.search(english) or PLACEHOLDER.search(text) or not english or not text:
        return False
    if sum(1 for word in english.split() if WORD.search(word)) < 3 or max(english.count(" "), text.count(" ")) >= 128:
        return False
    if not 0.3 <= len(text) / len(english) <= 3.0:
        return False
    if min(share(english, "Latn"), share(text, script)) < 0.5:
        return False
    return split_key(english) != split_key(text)


def share(text: str, script: str) -> float:
    letters = NO_LETTERS.sub("", text)
    return len(OTHER_SCRIPTS[script].sub("", letters)) / len(letters) if letters else 0.0


def add_keys(batch: dict[str, list[str]]) -> dict[str, list[str]]:
    keys = [split_key(english) for english in batch["english"]]
    return {"key": keys, "split": [_split(key) for key in keys]}


def _split(key: str) -> str:
    place = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
    return "test" if place < 0.15 else "valid" if place < 0.27 else "train"


def clean_vectors(table: pa.Table, tag: str) -> Any:
    english, text = (table[side].combine_chunks() for side in ("english", "text"))
    cleaned = clean_batch(english, text, describe_language(tag), CleaningConfig())
    keys = split_keys(cleaned.english)
    place, _ = hash_keys(keys, "")
    splits = pa.array(SPLITS).take(pa.array(splits_of(place, SplitConfig())))
    return pa.table({"english": cleaned.english, "text": cleaned.text, "key": keys, "split": splits})
