"""Leave out of an encoder's vocabulary the pieces that none of some corpora's texts needs.

    python tools/trim_vocabulary.py ENCODER CORPUS... --out DIR [--lang sw ...] [--prefix "query: " ...]

A multilingual encoder of 12 layers carries 250,000 word embeddings, and an experiment in five languages reads a tenth of them; the others
cost time in the optimiser and disk in every checkpoint, and nothing else. Kept are the pieces that occur in the tokenised texts (every
split, both sides, with and without the prefixes), every piece of one character, the special ones, and the one of the lowest score, which
the score of an unknown character derives from.

Only for a Unigram tokenizer (SentencePiece: XLM-R, multilingual E5, mT5): it takes the best path over pieces, so that leaving out others
does not move it. That is checked all the same: every text must give the same sequence of pieces, and a sample the same token vectors to
the bit. The folder that is written is a plain Hugging Face encoder, for `student.init` and `teacher.path`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import build_artifact, file_sha256
from optical_ray.data.corpus import Corpus
from optical_ray.data.corpus_config import SPLITS
from optical_ray.encoders.pretrained import load_pretrained
from optical_ray.errors import ModelError, OpticalError
from optical_ray.languages.codes import canonical_tag

BATCH = 1024
SAMPLE = 64
"""Texts whose token vectors are compared, spread over all."""


def corpus_texts(corpus: Corpus, languages: Sequence[str]) -> Iterator[str]:
    """Both sides of every split."""
    for tag in languages or corpus.languages:
        for split in SPLITS:
            yield from corpus.rows(tag, split, ("text",))["text"].to_pylist()
    if corpus.kind == "bitext":
        yield from corpus.english()["english"].to_pylist()


def with_prefixes(texts: Iterable[str], prefixes: Sequence[str]) -> Iterator[str]:
    """Every text alone, then behind each prefix."""
    for text in texts:
        yield text
        yield from (prefix + text for prefix in prefixes)


def used_pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> set[int]:
    """Ids that occur in the tokenised texts."""
    found: set[int] = set()
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        for encoding in tokenizer.encode_batch_fast(batch):
            found.update(encoding.ids)
    return found


def pieces_to_keep(definition: dict[str, Any], used: set[int]) -> list[int]:
    """Ids that stay, in their old order: the new id of a piece is its place in this list."""
    vocab = definition["model"]["vocab"]
    special = {token["id"] for token in definition["added_tokens"]} | {definition["model"]["unk_id"]}
    lowest = min(range(len(vocab)), key=lambda index: vocab[index][1])
    kept = [i for i, (piece, _) in enumerate(vocab) if i in used or i in special or i == lowest or len(piece) == 1]
    return kept + sorted(i for i in special if i >= len(vocab))  # added behind the model's own


def trim_definition(definition: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """tokenizer.json with the kept pieces alone, ids renumbered wherever it names one."""
    new_id = {old: new for new, old in enumerate(kept)}
    model = definition["model"]
    trimmed = {**model, "vocab": [model["vocab"][old] for old in kept if old < len(model["vocab"])], "unk_id": new_id[model["unk_id"]]}
    added = [{**token, "id": new_id[token["id"]]} for token in definition["added_tokens"]]
    post = definition["post_processor"]
    if post is not None and post["type"] == "TemplateProcessing":
        tokens = {name: {**token, "ids": [new_id[old] for old in token["ids"]]} for name, token in post["special_tokens"].items()}
        post = {**post, "special_tokens": tokens}
    elif post is not None:
        raise ModelError(f"its tokenizer ends in {post['type']}; expected a template, which says the ids of its special tokens")
    return {**definition, "model": trimmed, "added_tokens": added, "post_processor": post, "truncation": None, "padding": None}


def trim_encoder(encoder: Any, kept: Sequence[int]) -> None:
    """Keep these rows of the word embeddings, in this order."""
    old = encoder.get_input_embeddings()
    padding = kept.index(old.padding_idx) if old.padding_idx is not None and old.padding_idx in kept else None
    new = nn.Embedding(len(kept), old.embedding_dim, padding_idx=padding)
    with torch.no_grad():
        new.weight.copy_(old.weight[torch.tensor(kept)])
    encoder.set_input_embeddings(new)
    encoder.config.vocab_size = len(kept)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id"):
        identity = getattr(encoder.config, name, None)
        if identity is not None and identity in kept:
            setattr(encoder.config, name, kept.index(identity))


def check_same(before: Tokenizer, after: Tokenizer, texts: Iterable[str]) -> int:
    """Number of texts, all of them the same sequence of pieces.

    Raises:
        ModelError: the first that differs.
    """
    count, texts = 0, iter(texts)
    while batch := list(islice(texts, BATCH)):
        for text, old, new in zip(batch, before.encode_batch(batch), after.encode_batch(batch), strict=True):
            if old.tokens != new.tokens or old.offsets != new.offsets:
                raise ModelError(f"{text[:60]!r}: {old.tokens[:12]} became {new.tokens[:12]}; nothing was written")
        count += len(batch)
    return count


@torch.inference_mode()
def token_vectors(encoder: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> list[torch.Tensor]:
    """The last layer, [tokens, D], of one text at a time."""
    encoder.eval()
    return [encoder(input_ids=torch.tensor([tokenizer.encode(text).ids[:128]])).last_hidden_state[0] for text in texts]


def backend_of(path: str, tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Without truncation or padding.

    Raises:
        ModelError: not a fast tokenizer, or not a Unigram one.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = json.loads(backend.to_str())["model"]["type"] if isinstance(backend, Tokenizer) else "no fast"
    if not isinstance(backend, Tokenizer) or kind != "Unigram":
        raise ModelError(
            f"{path}: its tokenizer is {kind}; expected Unigram: pieces of others are built of each other and cannot be left out"
        )
    backend.no_truncation()
    backend.no_padding()
    return backend


def trim(path: str, corpora: Sequence[Corpus], languages: Sequence[str], prefixes: Sequence[str], out: Path) -> dict[str, int]:
    """Write the smaller encoder to `out`; returns what was counted.

    Raises:
        OpticalError: no Unigram tokenizer, a language is not there, a text would be tokenised otherwise, `out` holds something else.
    """
    encoder, tokenizer = load_pretrained(path)
    backend = backend_of(path, tokenizer)
    chosen = [sorted({canonical_tag(code) for code in languages} & set(corpus.languages)) for corpus in corpora]
    absent = {canonical_tag(code) for code in languages}.difference(*chosen)
    if absent:
        raise ModelError(f"{', '.join(sorted(absent))}: in none of the corpora; they have {', '.join(sorted({*corpora[0].languages}))}")

    def texts() -> Iterator[str]:
        for corpus, tags in zip(corpora, chosen, strict=True):
            if tags or not languages:
                yield from with_prefixes(corpus_texts(corpus, tags), prefixes)

    definition = json.loads(backend.to_str())
    kept = pieces_to_keep(definition, used_pieces(backend, texts()))
    trimmed = Tokenizer.from_str(json.dumps(trim_definition(definition, kept), ensure_ascii=False))
    counts = {"pieces": len(definition["model"]["vocab"]), "kept": len(kept), "texts": check_same(backend, trimmed, texts())}
    sample = list(islice(texts(), 0, None, max(1, counts["texts"] // SAMPLE)))
    vectors = token_vectors(encoder, backend, sample)
    trim_encoder(encoder, kept)
    for text, old, new in zip(sample, vectors, token_vectors(encoder, trimmed, sample), strict=True):
        if not torch.equal(old, new):
            raise ModelError(f"{text[:60]!r}: its token vectors changed by up to {(old - new).abs().max():.1e}; nothing was written")

    def fill(scratch: Path) -> dict[str, int]:
        encoder.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        trimmed.save(str(scratch / "tokenizer.json"))
        return counts

    weights = sorted(Path(path).glob("*.safetensors"))
    inputs = {
        "weights": [file_sha256(file) for file in weights] or path,
        "corpora": [corpus.fingerprint for corpus in corpora],
        "languages": chosen,
        "prefixes": list(prefixes),
    }
    build_artifact(out, "trimmed-encoder", inputs, fill)
    return counts


def main(arguments: Sequence[str]) -> int:
    """The command; one line and 2 for what a user can mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="a folder or hub id, as student.init takes it")
    parser.add_argument("corpora", nargs="+", type=Path, metavar="CORPUS", help="folders that `optical data build --out` made")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--lang", action="append", default=[], help="only these languages, beside English; any usual code")
    parser.add_argument("--prefix", action="append", default=[], help="put before texts by a recipe, such as 'query: '")
    options = parser.parse_args(arguments)
    try:
        corpora = [Corpus.open(folder) for folder in options.corpora]
        counts = trim(options.encoder, corpora, options.lang, options.prefix, options.out)
    except OpticalError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: {counts['kept']:,} of {counts['pieces']:,} pieces; {counts['texts']:,} texts are tokenised as before")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
