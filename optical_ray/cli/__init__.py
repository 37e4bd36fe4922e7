"""The verbs. `main` reads the command line; each verb's module is imported only when it is called, so `optical --help` is instant."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optical_ray.cli.evaluate_options import add_evaluate
from optical_ray.cli.run_options import add_run_verbs, add_upkeep
from optical_ray.errors import OpticalError

if TYPE_CHECKING:
    from optical_ray.sweep import Sweep

DESCRIPTION = """Cross-lingual retrieval by optimal-transport distillation: train one student, or sweep a question over many.

A frozen English teacher encodes the English side of bitext, a multilingual student the foreign side; an optimal-transport plan aligns their
tokens. Results go to a run folder (runs/), what trials share goes to a store (artifacts/)."""


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(prog="optical", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="log what happens inside, with tracebacks of every error")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    data = verbs.add_parser("data", help="build a bitext corpus, or look at one").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    for action, text in (
        ("build", "read, clean, split and write a corpus (a Ray Data job); killed and started again, it goes on where it stopped"),
        ("show", "languages, pairs, what was dropped and why, licences"),
        ("sample", "rows of one language to read"),
    ):
        verb = data.add_parser(action, help=text, description=f"{text[0].upper()}{text[1:]}.")
        verb.set_defaults(run=f"data:{action}")
        verb.add_argument(
            "arguments",
            nargs="*",
            metavar="SOURCE|FIELD=VALUE",
            help="`catalogs` (default); a file, folder, glob, URI or hf:OWNER/NAME, with ,key=value for what it does not say itself: "
            "lang, english, text, lang_column, header, format, name, licence"
            + ("" if action == "build" else "; or the folder of a corpus")
            + "; and corpus fields, such as min_pairs=500 (`optical recipe fields` lists them)",
        )
        _store(verb)
        if action == "build":
            verb.add_argument("--out", type=Path, default=None, metavar="DIR", help="build into this folder (default: into the store)")
            verb.add_argument(
                "--on-bad-row",
                choices=["refuse", "skip"],
                default=None,
                help="skip: count and list damaged rows (default refuse)",
            )
            verb.add_argument("--in-process", action="store_true", help="without Ray, one task after the other")
            _address(verb)
        if action == "show":
            verb.add_argument("--figure", type=Path, default=None, metavar="FILE", help="draw it too: .svg, .png or .pdf")
            verb.add_argument("--tokenizer", default=None, metavar="PATH", help="count tokens too, by the tokenizer of a folder or hub id")
            verb.add_argument("--verify", action="store_true", help="read every file and compare it with its checksum")
        if action == "sample":
            verb.add_argument("--lang", required=True, metavar="CODE", help="the language")
            verb.add_argument("--rows", type=int, default=10, metavar="N", help="how many (default 10)")
            verb.add_argument("--split", choices=["train", "valid", "test"], default="train", help="of which split (default train)")
            verb.add_argument("--seed", type=int, default=0, help="another seed, other rows")

    pretrain = verbs.add_parser(
        "pretrain",
        help="masked-LM pre-training of a recipe's student, to be used by every trial that asks for the same",
        description="Pre-train the encoder that a recipe's student starts from (its `pretraining` fields) and show what it knows of each "
        "language. Killed and started again, it continues from its last checkpoint. One worker needs no Ray.",
    )
    pretrain.set_defaults(run="pretrain:pretrain")
    pretrain.add_argument("recipe", metavar="RECIPE.json", help="a recipe; `optical recipe show` writes one")
    pretrain.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="recipe fields to replace, such as pretraining.training.max_steps=2000"
    )
    _worker_options(pretrain)
    _address(pretrain)
    pretrain.add_argument("--out", type=Path, default=None, metavar="DIR", help="copy the encoder into this folder too")
    _store(pretrain)

    train = verbs.add_parser(
        "train",
        help="one distillation, from bitext to test rows",
        description="One distillation. Killed and started again, it continues from its last checkpoint. One worker needs no Ray.",
    )
    train.set_defaults(run="train:train")
    train.add_argument("recipe", nargs="?", metavar="RECIPE.json", help="a recipe; `optical recipe show` writes one")
    train.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="recipe fields to replace, such as transport.epsilon=0.1")
    train.add_argument("--from", dest="from_trial", type=Path, metavar="RUN/TRIAL", help="the recipe of a trial, such as RUN/0123456789ab")
    _worker_options(train)
    _address(train)
    _out(train)
    _store(train)

    teacher = verbs.add_parser(
        "train-teacher",
        help="an English teacher, from queries with relevant documents",
        description="Train an English late-interaction teacher, and judge it against TF-IDF before it may teach. Killed and started again, "
        "it continues from its last checkpoint. One worker needs no Ray.",
    )
    teacher.set_defaults(run="train_teacher:train_teacher")
    teacher.add_argument(
        "arguments",
        nargs="*",
        metavar="RECIPE.json|FIELD=VALUE",
        help="a teacher's recipe, and fields to replace, such as training.max_steps=300 (`optical recipe fields --teacher` lists them)",
    )
    teacher.add_argument(
        "--data",
        action="append",
        default=None,
        metavar="SOURCE",
        help="relevance data: JSONL, TSV triples, or a folder of MS MARCO, BEIR or Parquet files, with ,key=value for what it does not say "
        "itself: format, split, query, collection, queries, triples; may be given several times",
    )
    teacher.add_argument("--out", type=Path, required=True, metavar="DIR", help="the teacher's folder; made when it is trained")
    teacher.add_argument(
        "--on-bad-row", choices=["refuse", "skip"], default=None, help="skip: count and list damaged rows (default refuse)"
    )
    _worker_options(teacher)
    _address(teacher)
    _store(teacher)

    add_evaluate(verbs, _address, _store)

    sweep = verbs.add_parser(
        "sweep",
        help="run every trial of a sweep file, then report",
        description="Run a sweep: Ray Tune and Optuna over the file's trials, then the table and the report.",
    )
    sweep.set_defaults(run="sweep:sweep_file")
    sweep.add_argument("file", type=Path, metavar="FILE", help="a Python file with a SWEEP, such as sweeps/quickstart.py")
    _sweep_options(sweep)

    compare = verbs.add_parser(
        "compare",
        help="two or more systems on the same queries: differences, intervals, tests",
        description="Compare the first system with each of the others on the same queries: means, paired differences with bootstrap "
        "intervals, bootstrap and randomisation p-values after Holm's correction. Trials that differ in seeds alone are averaged, and "
        "their seeds shown.",
    )
    compare.set_defaults(run="compare:compare")
    compare.add_argument(
        "arguments",
        nargs="+",
        metavar="PATH[:SYSTEM[:SCORER]]",
        help="a folder that `optical evaluate` wrote, a trial (runs/NAME/trials/ID) or a run; with a system of it (default: student, "
        "else zero-shot, else the only one) and a scorer",
    )
    compare.add_argument("--task", action="append", default=None, metavar="NAME", help="only this task; may be given several times")
    compare.add_argument(
        "--measure",
        action="append",
        default=None,
        metavar="NAME",
        help="show this one (Success@k, RR@k, RR, AP, AP@20, nDCG@10, R@100; default: the task's own); may be given several times",
    )
    compare.add_argument("--scorer", default=None, metavar="NAME", help="of systems that have several (default: the recipe's, or maxsim)")
    compare.add_argument("--split", choices=["valid", "test"], default=None, help="of which split (default test)")
    compare.add_argument("--common", action="store_true", help="compare on the queries that both have, and say how many were left out")
    compare.add_argument(
        "--resamples", type=int, default=10_000, metavar="R", help="of the bootstrap and of the randomisation test (default 10,000)"
    )
    compare.add_argument("--seed", type=_whole_number, default=0, help="of the resamples (default 0)")
    compare.add_argument("--out", type=Path, default=None, metavar="FILE", help="write every row, measure and seed as CSV")

    report = verbs.add_parser(
        "report",
        help="table, figures and page from a run folder",
        description="Write report/index.html, figures and tables from a running, killed or finished run.",
    )
    report.set_defaults(run="report:report")
    report.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="a run folder, such as runs/quickstart-0123456789ab; several need --out"
    )
    report.add_argument("--out", type=Path, default=None, help="where to write (default: RUN/report; of several runs, a folder for each)")
    report.add_argument(
        "--compare", type=Path, default=None, metavar="RUN_B", help="put the same settings of another run beside this one's"
    )
    report.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=30.0,
        default=None,
        metavar="SECONDS",
        help="write it again when the run has changed, looked at every so many seconds (default 30), until all trials have an end",
    )
    report.add_argument("--baseline", metavar="ARM", help="the arm that the others are compared with (default: contrastive, else OT)")

    export = verbs.add_parser(
        "export",
        help="a finished trial's student as a model folder for other tools",
        description="Write the student of a finished trial as Sentence-Transformers and PyLate read it, with a model card.",
    )
    export.set_defaults(run="export:export")
    export.add_argument(
        "trial", type=Path, metavar="RUN/TRIAL", help="a trial's folder, such as runs/NAME/trials/ID; or a run that has one trial"
    )
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; must not be there yet")
    export.add_argument("--force", action="store_true", help="replace what an earlier export wrote there")

    add_run_verbs(verbs, _address, _out, _store)

    recipe = verbs.add_parser("recipe", help="what a recipe holds").add_subparsers(dest="action", required=True, metavar="ACTION")
    fields = recipe.add_parser(
        "fields", help="every field, its type, default and meaning", description="Every recipe field with type, default, unit and meaning."
    )
    fields.set_defaults(run="recipe:fields")
    fields.add_argument("--teacher", action="store_true", help="of a teacher's recipe (`optical train-teacher`)")
    show = recipe.add_parser(
        "show",
        help="a recipe as JSON: the defaults, or a sweep file's base",
        description="Print a recipe as JSON, ready for `optical train`.",
    )
    show.set_defaults(run="recipe:show")
    show.add_argument(
        "--sweep", type=Path, default=None, metavar="FILE", help="take the base recipe of this sweep file (default: the package's defaults)"
    )
    show.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="fields to replace")
    return parser


def _whole_number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 or more")
    return value


def _worker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=int, default=1, help="data-parallel workers; above 1 through Ray Train, with the same global batches (default 1)"
    )
    parser.add_argument("--threads", type=int, default=None, help="threads of each worker (default: the machine's cores over the workers)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the model runs (default cpu)")


def _out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where run folders go (default runs)")


def _store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", type=Path, default=Path("artifacts"), help="where corpora, tokenizers and teacher tokens are kept (default artifacts)"
    )


def _address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        default=None,
        metavar="ADDRESS",
        help="Ray cluster: local (a private one), auto (the one on this machine) or HOST:PORT (default: RAY_ADDRESS, else local)",
    )


def _sweep_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="FIELD=VALUE",
        help="fields of the file's base recipe to replace, such as corpus.path=DIR: the same question on other data, which is another run",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the trials, their time and disk, and stop; no Ray, nothing written")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a sweep that was begun: finished and failed trials stay, the rest runs"
    )
    parser.add_argument("--retry-failed", action="store_true", help="go on, and run the failed trials again")
    parser.add_argument(
        "--extend",
        type=int,
        default=None,
        metavar="N",
        help="go on, with N trials more in the last search part, which remembers what it tried",
    )
    parser.add_argument(
        "--trials", type=int, default=None, metavar="N", help="trials in all: the grid's, then searched ones (default: the file's)"
    )
    parser.add_argument(
        "--concurrent",
        type=int,
        default=None,
        metavar="N",
        help="trials at a time (default: the file's, else what the cluster has room for)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="on a cluster whose nodes are still starting, or start on demand: wait so long for the CPUs and GPUs of --concurrent trials "
        "(default 0: refuse at once)",
    )
    add_upkeep(parser)
    _address(parser)
    _out(parser)
    _store(parser)


def main(arguments: Sequence[str] | None = None) -> None:
    """The `optical` command."""
    options = _parse(build_parser(), arguments)
    module, _, function = options.run.partition(":")
    _exit_with(lambda: getattr(importlib.import_module(f"optical_ray.cli.{module}"), function)(options), options.verbose)


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    options, rest = parser.parse_known_args(arguments)
    if rest:  # what stands behind an option: argparse takes positionals in one piece only
        name = "arguments" if hasattr(options, "arguments") else "overrides"
        if not hasattr(options, name) or any(text.startswith("-") or ("=" not in text and name == "overrides") for text in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        setattr(options, name, [*getattr(options, name), *rest])
    return options


def run(sweep: Sweep) -> None:
    """What a sweep file calls at its end, so that `python sweeps/quickstart.py` is `optical sweep sweeps/quickstart.py`."""
    parser = argparse.ArgumentParser(description=sweep.question)
    parser.add_argument("--verbose", action="store_true", help="log what happens inside, with tracebacks of every error")
    _sweep_options(parser)
    options = _parse(parser, None)

    def go() -> int | None:
        from optical_ray.cli.sweep import run_sweep_options

        return run_sweep_options(sweep, options, sys.argv[0])

    _exit_with(go, options.verbose)


def _exit_with(verb: object, verbose: bool) -> None:
    assert callable(verb)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        code = verb()
    except OpticalError as error:
        if verbose:
            raise
        print(f"optical: {error}", file=sys.stderr)
        code = 2
    except UnicodeEncodeError as error:  # a name of the file system that is no UTF-8: JSON and Parquet cannot hold it
        if verbose:
            raise
        name = ascii(error.object[:200])
        print(f"optical: {name}: a name that is not UTF-8 cannot be written down in a manifest; rename it", file=sys.stderr)
        code = 2
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if verbose or error.filename is None:
            raise
        print(f"optical: {error.filename}: {error.strerror}; check the path, its rights and the disk's space", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("optical: interrupted", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.exit(code or 0)
