"""optical data build | show | sample"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import MANIFEST, Store
from optical_ray.cli.progress import make_console, status_line
from optical_ray.config import parse_override
from optical_ray.data.building.pipeline import build_corpus, find_corpus
from optical_ray.data.cleaning import RULES
from optical_ray.data.corpus import Corpus, describe_corpus
from optical_ray.data.corpus_config import SPLITS, CorpusConfig
from optical_ray.data.layout import BLOCK_ROWS
from optical_ray.data.tasks import MapTasks
from optical_ray.errors import ConfigError, DataError
from optical_ray.languages.codes import canonical_tag
from optical_ray.recipe import Resources

_OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)*=.*", re.DOTALL)
BAD_ROWS_SHOWN = 5
SHOW_COLUMNS = 150  # of the table in a log file


def _config(options: argparse.Namespace) -> CorpusConfig:
    """Sources and FIELD=VALUE stand in any order on the command line: a text is an override when it looks like one and is no file."""
    overrides = [text for text in options.arguments if _is_override(text)]
    sources = [text for text in options.arguments if text not in overrides]
    changes = dict(parse_override(text.removeprefix("corpus.")) for text in overrides)
    if len(sources) == 1 and (Path(sources[0]) / MANIFEST).is_file():
        return CorpusConfig(path=sources[0]).override(changes)
    if sources:
        changes["sources"] = sources
    if getattr(options, "on_bad_row", None) is not None:
        changes["on_bad_row"] = options.on_bad_row
    return CorpusConfig().override(changes)


def _is_override(text: str) -> bool:
    """True for FIELD=VALUE. `lang=sw/*.tsv` is a source: it is there, or looks like a path and begins with no field's name."""
    if not _OVERRIDE.fullmatch(text) or Path(text.partition(",")[0]).exists():
        return False
    field = re.split(r"[.=]", text.removeprefix("corpus."), maxsplit=1)[0]
    return field in CorpusConfig.model_fields or not any(mark in text for mark in "/*?")


@contextlib.contextmanager
def _ray_tasks(options: argparse.Namespace, console: Console) -> Iterator[MapTasks | None]:
    if options.in_process:
        yield None
        return
    from optical_ray.orchestration.data_job import map_tasks
    from optical_ray.orchestration.session import ray_session

    with ray_session(options.address, Resources()) as session:
        if session.notice:
            console.print(session.notice, soft_wrap=True)
        yield map_tasks


def build(options: argparse.Namespace) -> None:
    """Build a corpus into a folder or the store; one that is there is left as it is."""
    console = make_console()
    config, store = _config(options), Store(options.store)
    if config.path is not None:
        raise ConfigError(f"{config.path}: is a corpus already; look at it with `optical data show {config.path}`")
    found = find_corpus(store, config, options.out)
    if found is not None:
        console.print(f"Built already: {found.folder}", soft_wrap=True)
        return
    with _ray_tasks(options, console) as map_tasks, status_line(console, config.kind) as show_line:
        corpus = build_corpus(store, config, map_tasks, show_line, options.out)
    _summarise(console, corpus)
    if options.out is not None and corpus.kind == "bitext":
        console.print(f"Train on it with corpus.path={corpus.folder}", soft_wrap=True)


def _open(options: argparse.Namespace) -> Corpus:
    config = _config(options)
    corpus = find_corpus(Store(options.store), config)
    if corpus is None:
        again = " ".join(["optical data build", *options.arguments])
        raise DataError(f"{options.store}: no corpus of {', '.join(config.sources)} with these settings; build it with `{again}`")
    return corpus


def show(options: argparse.Namespace) -> None:
    """A table of the corpus, language by language; a figure of it too."""
    console = make_console(SHOW_COLUMNS)
    corpus = _open(options)
    if options.verify and (damaged := corpus.damaged_files()):
        raise DataError(f"{corpus.folder}: {len(damaged)} files are not as they were written ({', '.join(damaged[:3])}); build it again")
    tokens = () if options.tokenizer is None else _count_tokens(corpus, options.tokenizer)  # a wrong path is told before anything
    languages = describe_corpus(corpus)
    median = "median English words" if corpus.kind == "bitext" else "median words"
    table = Table("language", "name", "family", "script", *SPLITS, "text words", "text characters", median, "licences", box=None)
    for row in languages:
        numbers = (f"{row[name]:,}" for name in (*SPLITS, "words", "characters"))
        table.add_row(row["language"], row["name"], row["family"], row["script"], *numbers, f"{row['median words']:g}", row["licences"])
    console.print(table)
    for part in tokens:
        console.print(part, soft_wrap=True)
    rules = [rule.name for rule in RULES if any(rule.name in row["dropped"] for row in languages)]
    table = Table("language", "rows read", "kept", *rules, box=None, title="\nRows dropped, by the rule", title_justify="left")
    for row in languages:
        kept = math.floor(1000 * sum(row[split] for split in SPLITS) / max(row["read"], 1)) / 1000  # 100 % is all of them
        table.add_row(row["language"], f"{row['read']:,}", f"{kept:.1%}", *(f"{row['dropped'].get(rule, 0):,}" for rule in rules))
    console.print(table)
    facts = corpus.manifest["facts"]
    dropped = Counter[str]()
    for language in [*facts["languages"].values(), *facts["left_out"].values()]:
        dropped.update(language["dropped"])
    console.print("Dropped: " + (", ".join(f"{rule} {count:,}" for rule, count in dropped.most_common()) or "nothing"), soft_wrap=True)
    console.print(
        "Licences: " + ", ".join(f"{source} {licence or 'not stated'}" for source, licence in facts["licences"].items()), soft_wrap=True
    )
    _summarise(console, corpus)
    if options.verify:
        console.print(f"Verified: {len(facts['files'])} files are byte for byte as they were written")
    if options.figure is not None:
        from optical_ray.analysis.corpus_figure import draw_corpus

        draw_corpus(languages, options.figure, corpus.unit)
        console.print(f"Figure: {options.figure}", soft_wrap=True)


def _count_tokens(corpus: Corpus, path: str) -> tuple[str, Table]:
    from optical_ray.data.token_counts import SAMPLE_ROWS, count_tokens  # transformers takes seconds to import
    from optical_ray.encoders.pretrained import load_tokenizer

    table = Table("language", "tokens", "±", "tokens/word", "unknown", box=None)
    for tag, count in count_tokens(corpus, load_tokenizer(path)).items():
        table.add_row(tag, f"{count.tokens:,}", f"{count.margin:.1%}", f"{count.per_word:.2f}", f"{count.unknown:.2%}")
    return f"\nTokens by {path}, counted on about {SAMPLE_ROWS:,} rows of each language (± half a 95 % interval)", table


def sample(options: argparse.Namespace) -> None:
    """Rows to read, from a seeded place of the split."""
    console = make_console()
    if options.rows < 1:
        raise ConfigError(f"--rows {options.rows}: expected 1 or more")
    corpus, tag = _open(options), canonical_tag(options.lang)
    count = corpus.pairs(options.split).get(tag, 1)
    if not count:
        raise DataError(f"{corpus.folder}: {tag} has no row in the {options.split} split")
    block = corpus.block(tag, options.split, random.Random(options.seed).randrange(-(-count // BLOCK_ROWS)))
    chosen = sorted(random.Random(options.seed).sample(range(block.num_rows), min(options.rows, block.num_rows)))
    names = {"english": "english", "text": corpus.manifest["facts"]["languages"][tag]["name"], "source": "source"}
    shown = [column for column in names if column != "english" or corpus.kind == "bitext"]
    table = Table(*(names[column] for column in shown), box=None, show_lines=False, padding=(0, 2, 1, 0))
    for row in block.take(chosen).to_pylist():
        table.add_row(*(row[column] for column in shown))
    console.print(table)


def _summarise(console: Console, corpus: Corpus) -> None:
    facts = corpus.manifest["facts"]
    least = corpus.manifest["inputs"]["min_pairs"]
    left_out = ", ".join(f"{tag} {language['kept']}" for tag, language in facts["left_out"].items())
    console.print(f"Left out (fewer than {least} {corpus.unit}): {left_out or 'none'}", soft_wrap=True)
    if facts["skipped"]:
        console.print("Skipped: " + ", ".join(f"{code} ({reason})" for code, reason in facts["skipped"].items()), soft_wrap=True)
    if facts["bad_rows"]["count"]:
        console.print(f"Bad rows skipped: {facts['bad_rows']['count']:,} (manifest.json lists the first)", style="bold", soft_wrap=True)
        for line in facts["bad_rows"]["first"][:BAD_ROWS_SHOWN]:
            console.print(f"  {line}", soft_wrap=True)
    merged = [f"{tag} ({', '.join(language['codes'])})" for tag, language in facts["languages"].items() if len(language["codes"]) > 1]
    if merged:
        console.print("One language under several codes: " + ", ".join(merged), soft_wrap=True)
    splits = {split: sum(corpus.pairs(split).values()) for split in SPLITS}
    text = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    english = f", {corpus.num_english:,} English sentences" if corpus.kind == "bitext" else ""
    number = len(corpus.languages)
    console.print(f"{number} language{'s' * (number != 1)}, {sum(splits.values()):,} {corpus.unit} ({text}){english}", soft_wrap=True)
    console.print(f"Corpus: {corpus.folder}", soft_wrap=True)
