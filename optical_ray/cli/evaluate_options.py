"""The options of `optical evaluate`; read without importing what it needs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

AddOption = Callable[[argparse.ArgumentParser], None]


def add_evaluate(verbs: argparse._SubParsersAction[argparse.ArgumentParser], add_address: AddOption, add_store: AddOption) -> None:
    """The verb and its options.

    Args:
        verbs: Of the command.
        add_address: Adds `--address`, as every verb that may use Ray has it.
        add_store: Adds `--store`.
    """
    parser = verbs.add_parser(
        "evaluate",
        help="a model on a retrieval task, beside floors and references, per query",
        description="Rank a task's documents with a model, and references beside it; write per-query rows, averages with intervals and, "
        "on request, TREC files (docs/evaluation.md).",
    )
    parser.set_defaults(run="evaluate:evaluate_model")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a finished trial (runs/NAME/trials/ID), an export, a checkpoint, any folder or hub id of Hugging Face, Sentence-"
        "Transformers, PyLate or ColBERT; `none`: references alone",
    )
    parser.add_argument("--task", required=True, metavar="NAME", help="tatoeba, lareqa, bitext, ...; an unknown one lists them")
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="where the task's files are")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; must not be there yet")
    parser.add_argument("--force", action="store_true", help="replace another evaluation that is there")
    parser.add_argument(
        "--documents", default=None, metavar="MODEL", help="encodes the documents (default: of a trial its teacher, else MODEL itself)"
    )
    parser.add_argument("--swap", action="store_true", help="MODEL encodes the documents, the other one the queries")
    for kind in ("query", "document"):
        parser.add_argument(f"--{kind}-prefix", default=None, metavar="TEXT", help=f"put before every {kind} (default: as the folder says)")
        parser.add_argument(
            f"--{kind}-tokens",
            type=int,
            default=None,
            metavar="N",
            help=f"length limit of a {kind}, in tokens (default: as the folder says)",
        )
    parser.add_argument(
        "--centre",
        choices=["none", "teacher-mean", "language-mean"],
        default=None,
        help="what a student's tokens and its teacher's lose before they are compared (default: as its trial's evaluation)",
    )
    parser.add_argument("--systems", type=_list, default=(), metavar="A,B", help="rows to compute (default: all that there are)")
    parser.add_argument("--translations", type=Path, default=None, metavar="FILE", help="queries in English: TSV or JSON lines by query id")
    parser.add_argument("--translator", default=None, metavar="MODEL", help="translate the queries with a sequence-to-sequence checkpoint")
    parser.add_argument("--languages", type=_list, default=(), metavar="A,B", help="languages of the queries (default: all)")
    parser.add_argument("--directions", type=_list, default=(), metavar="A,B", help="xx-en, en-xx, xx-yy (default: the first two)")
    parser.add_argument("--pairs", type=_list, default=(), metavar="A:B,..", help="languages of queries and documents, in place of both")
    parser.add_argument("--split", choices=["valid", "test"], default=None, help="valid: a benchmark's dev set (default test)")
    parser.add_argument("--candidates", default=None, metavar="RUN", help="re-rank a TREC run's documents, in place of ranking all")
    parser.add_argument(
        "--limit", type=int, default=None, metavar="N", help="queries of each language, at most; not the benchmark's figure"
    )
    parser.add_argument("--on-bad-row", choices=["refuse", "skip"], default=None, help="skip: leave bad input out and count it")
    parser.add_argument("--depth", type=int, default=1000, metavar="N", help="documents kept of each ranking (default 1000)")
    parser.add_argument("--run-files", action="store_true", help="write TREC runs and qrels too")
    parser.add_argument("--keep-encodings", action="store_true", help="keep the documents' tokens in the store, as float16")
    parser.add_argument("--seed", type=int, default=0, help="of the random order")
    parser.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="what else of the data set is read (docs/evaluation.md)")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that score blocks of documents; above 1 through Ray, with the same numbers (default 1)",
    )
    parser.add_argument("--threads", type=int, default=None, help="threads of each worker (default: the machine's cores over the workers)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where models run (default cpu)")
    add_address(parser)
    add_store(parser)


def _list(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; expected names, separated by commas")
    return names
