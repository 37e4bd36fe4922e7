"""Translations by a sequence-to-sequence checkpoint: Marian, M2M-100, NLLB, mBART, T5 or another that transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from optical_ray.artifacts import whole_file
from optical_ray.encoders.pretrained import find_model
from optical_ray.errors import LanguageError, ModelError
from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Queries
from optical_ray.retrieval.systems.translation import Translations

BATCH_QUERIES = 16
BEAMS = 4
QUERY_TOKENS = 256
"""Of a query; a longer one is cut."""
ENGLISH_TOKENS = 128
"""Of a translation, at most."""


def translate_with(
    path: str, queries: Sequence[Queries], device: str = "cpu", progress: Callable[[str], None] | None = None
) -> Translations:
    """English of every query that is not English, by beam search: no chance is involved. Where the model says nothing, the query stays as
    it is.

    Args:
        path: A folder or hub id.
        queries: Of all collections; what occurs twice is translated once.
        device: Where the model runs.
        progress: Told a short line now and then.

    Raises:
        ModelError: no such model, it is none of this kind, or it names its languages and lacks one of them.
    """
    wanted: dict[str, dict[str, list[str]]] = {}
    for some in queries:
        for name, language, text in zip(some.ids, some.languages, some.texts, strict=True):
            if language != ENGLISH:
                wanted.setdefault(language, {}).setdefault(text, []).append(name)
    model, tokenizer = _load(path, device)
    codes = _language_codes(tokenizer)
    found: dict[tuple[str | None, str], str] = {}
    for language, texts in sorted(wanted.items()):
        keywords: dict[str, Any] = {}
        if codes:
            for tag in (language, ENGLISH):
                if tag not in codes:
                    raise ModelError(f"{path}: translates from {len(codes)} languages, {tag} is not among them; leave it out (--languages)")
            tokenizer.src_lang = codes[language]
            keywords["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(codes[ENGLISH])
        rest = sorted(texts, key=lambda text: (len(text), text))
        for first in range(0, len(rest), BATCH_QUERIES):
            part = rest[first : first + BATCH_QUERIES]
            if progress is not None:
                progress(f"translates {language}: {first + len(part)} of {len(rest)}")
            inputs = tokenizer(part, return_tensors="pt", padding=True, truncation=True, max_length=QUERY_TOKENS)
            with torch.inference_mode():
                ids = model.generate(
                    input_ids=inputs["input_ids"].to(device),
                    attention_mask=inputs["attention_mask"].to(device),
                    num_beams=BEAMS,
                    do_sample=False,
                    max_new_tokens=ENGLISH_TOKENS,
                    **keywords,
                )
            for text, english in zip(part, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
                found |= {(language, name): " ".join(english.split()) or text for name in texts[text]}
    return found


def write_translations(path: Path, translations: Translations) -> None:
    """As TSV that `read_translations` reads, whole or not at all."""
    with whole_file(path) as scratch:
        rows = sorted((language or ENGLISH, name, english) for (language, name), english in translations.items())
        scratch.write_text("".join(f"{language}\t{name}\t{english}\n" for language, name, english in rows), encoding="utf-8")


def _load(path: str, device: str) -> tuple[Any, Any]:
    source = find_model(path)
    try:
        model = AutoModelForSeq2SeqLM.from_pretrained(source, dtype=torch.float32, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{path}: cannot be loaded as a sequence-to-sequence model ({reason}); give a folder of Marian, NLLB, M2M-100, mBART or T5, "
            "or translations in a file (--translations)"
        ) from None
    return model.eval().to(device), tokenizer


def _language_codes(tokenizer: Any) -> dict[str, str]:
    """Canonical tag -> the token that names a language (`swh_Latn`, `__sw__`, `sw_KE`); empty for a model of one pair."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    codes: dict[str, str] = {}
    for token in sorted(tokenizer.get_added_vocab()):
        try:
            codes.setdefault(canonical_tag(token.strip("_")), token)
        except LanguageError:
            continue
    return codes
