"""README.md of an exported student: what it learnt from, how well it finds, where it stands beside the floors, and how to load it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optical_ray.cli.card_results import CardResults, markdown_table
from optical_ray.encoders.known_languages import PretrainingLanguages
from optical_ray.errors import RunFolderError
from optical_ray.languages.codes import describe_language
from optical_ray.languages.metadata import language_metadata
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder, TrialFolder
from optical_ray.runs.names import COLLAPSED, PLAN_UNIFORM
from optical_ray.runs.provenance import describe_provenance

_VERDICTS = {
    COLLAPSED: "**collapsed**: the tokens of one sentence point the same way, so the scores say little about the method",
    PLAN_UNIFORM: "**plan_uniform**: epsilon was too large for the spread of the cost, so the plan aligned nothing",
}
_LOCAL = re.compile(r"\A(file:|[/~.\\]|[A-Za-z]:\\)")
_URI = re.compile(r"\A[a-z0-9]+:")


def render_card(run: RunFolder, trial: TrialFolder, recipe: Recipe, name: str) -> str:
    """The card, in Markdown with the front matter of model hubs. It names no path of this machine.

    Args:
        run: The run folder, for its question and versions.
        trial: A finished trial.
        recipe: Its recipe.
        name: Title: the exported folder's name.

    Raises:
        RunFolderError: a file of the trial is missing.
    """
    for path in (trial.plan, trial.queries):
        if not path.is_file():
            raise RunFolderError(f"{path}: is missing; a finished trial has it: run the trial again in another folder")
    plan = json.loads(trial.plan.read_text(encoding="utf-8"))
    status = trial.read_status()
    sweep = run.read_sweep()
    results = CardResults.read(trial.queries, recipe)
    sections = [
        _front_matter(plan),
        f"# {name}\n",
        _introduction(recipe, trial, plan, status.step if status is not None else 0),
        "## Languages\n",
        _languages(plan),
        _pretraining(plan, recipe),
        "## Data\n",
        _data(plan),
        "## Results\n",
        results.describe(frozenset(plan["languages"])),
        "## Verdicts\n",
        _verdicts(status.verdicts if status is not None else []),
        "## How to load it\n",
        _loading(recipe),
        "## Limits\n",
        _limits(recipe),
        "## How it was made\n",
        _making(run, trial, recipe, sweep.provenance, sweep.name),
    ]
    return "\n".join(sections)


def hide_path(text: str) -> str:
    """The last part of a path of this machine, as a corpus source, a model or an option names it; anything else as it is."""
    place, comma, keys = text.partition(",")
    here = not _URI.match(place) and (Path(place).exists() or place.count("/") > 1)
    return (Path(place.removeprefix("file:")).name if _LOCAL.match(place) or here else place) + comma + keys


def _hide_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hide_paths(inner) for inner in value]
    return hide_path(value) if isinstance(value, str) else value


def _front_matter(plan: Mapping[str, Any]) -> str:
    codes = sorted({"en", *(tag.partition("-")[0] for tag in plan["languages"])})
    tags = ["ColBERT", "PyLate", "sentence-transformers", "multi-vector", "cross-lingual-retrieval", "optical-ray"]
    lines = ["---", "library_name: PyLate", "pipeline_tag: sentence-similarity", "language:", *(f'- "{code}"' for code in codes)]
    base = (plan.get("pretraining_languages") or {}).get("model")
    lines += [f"base_model: {base}"] if base else []
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---", ""])


def _introduction(recipe: Recipe, trial: TrialFolder, plan: Mapping[str, Any], steps: int) -> str:
    teacher = "all-MiniLM-L6-v2 (catalogs)" if recipe.teacher.path == "catalogs" else hide_path(recipe.teacher.path)
    start = "from scratch" if recipe.student.init == "scratch" else f"from {hide_path(recipe.student.init)}"
    trained = f"{steps:,} steps of `{recipe.arm}`" if recipe.arm != "none" else "no training: the untrained control"
    return (
        f"A multilingual late-interaction encoder: a query in one of {len(plan['languages'])} languages becomes one vector for each of its "
        f"tokens, in the space of the frozen English teacher `{teacher}`, which encodes the documents; the score is MaxSim. It started "
        f"{start}; {trained} on translations. Trial `{trial.trial_id}`, made with optical_ray.\n"
    )


def _languages(plan: Mapping[str, Any]) -> str:
    draws, diversity = plan.get("draws") or {}, plan["diversity"]
    rows = [
        [
            f"{describe_language(tag).name} ({tag})",
            language_metadata(tag).family or "unknown",
            language_metadata(tag).script,
            f"{plan['rows'][tag]:,}",
            f"{draws[tag]:,}" if tag in draws else "-",
            f"{plan['shares'][tag]:.3f}",
        ]
        for tag in plan["languages"]
    ]
    facts = {
        "effective languages": diversity["effective_languages"],
        "entropy of the shares (nats)": diversity["entropy_nats"],
        "entropy of families (nats)": diversity["family_entropy_nats"],
        "entropy of scripts (nats)": diversity["script_entropy_nats"],
        f"mean distance between languages ({diversity['distance']})": diversity["mean_distance"],
        "distance expected between two draws": diversity["mean_distance_between_draws"],
    }
    table = markdown_table(["language", "family", "script", "pairs", "draws", "share"], rows)
    return f"{table}\nDiversity: " + "; ".join(f"{name} {_number(value)}" for name, value in facts.items()) + ".\n"


def _pretraining(plan: Mapping[str, Any], recipe: Recipe) -> str:
    known = plan.get("pretraining_languages")
    if recipe.student.init == "scratch" and (known is None or not known["languages"]):
        return "It had seen no language before: it was trained from scratch.\n"
    if known is None:
        return "What the encoder that it started from had seen in pre-training is not known.\n"
    before = PretrainingLanguages(tuple(known["languages"]), known["source"])
    seen = [tag for tag in plan["languages"] if before.saw(tag)]
    model = f" of {known['model']}" if known.get("model") else ""
    return (
        f"The encoder that it started from had seen {len(before.languages)} languages in pre-training, by the list{model} "
        f"({before.source}): {' '.join(before.languages) or 'none'}. Of those above: {' '.join(seen) or 'none'}.\n"
    )


def _data(plan: Mapping[str, Any]) -> str:
    licences = plan.get("licences") or {}
    rows = [[source, licence or "not stated"] for source, licence in sorted(licences.items())]
    known = markdown_table(["source", "licence"], rows) if rows else "Sources and licences were not recorded with this trial.\n"
    return (
        f"{known}\nCorpus `{plan['corpus'][:16]}`. The licences are those of the bitext; that of the weights is for whoever publishes them "
        "to choose, in their light and that of teacher and starting encoder.\n"
    )


def _verdicts(found: list[str]) -> str:
    if not found:
        return "None: neither did the plan become uniform nor did tokens collapse at the last validation.\n"
    return "\n".join(f"- {_VERDICTS.get(verdict, verdict)}" for verdict in found) + "\n"


def _loading(recipe: Recipe) -> str:
    query, document = recipe.student.query_form, recipe.student.document_form
    prompted = query.prefix or document.prefix
    note = (
        f"\nQueries are read with the prefix {query.prefix!r}, documents with {document.prefix!r}; where it is text, tell PyLate so "
        '(`prompt_name="query"`, `prompt_name="document"`), and its tokens stay among the vectors outside optical_ray.\n'
        if prompted
        else ""
    )
    return f"""In optical_ray:

```python
from pathlib import Path

from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.student_folder import load_student, read_description
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.retrieval.encoding import encode_texts

folder = Path("DIR")
form = read_description(folder).query
table = tokenize(load_tokenizer(str(folder)), ["habari ya asubuhi"], form.max_tokens, form.prefix)
clouds = encode_texts(load_student(folder), table).centred(None)  # L2-normalised content tokens
```

In Sentence-Transformers 6:

```python
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

model = MultiVectorEncoder("DIR")
for module in model:
    if isinstance(module, MultiVectorMask):
        module.skiplist_tasks = ["query", "document"]  # CLS and SEP carry no mass in queries either
vectors = model.encode_query(["habari ya asubuhi"])
```

In PyLate 1:

```python
import numpy as np
from pylate import models

model = models.ColBERT("DIR")
found = model.encode(["habari ya asubuhi"], is_query=True, output_value=None)
keep = [~np.isin(ids, model.skiplist) & (mask > 0) for ids, mask in zip(found["input_ids"], found["attention_mask"])]
vectors = [vectors[rows] for vectors, rows in zip(found["token_embeddings"], keep)]  # without CLS, SEP and padding
```
{note}"""


def _limits(recipe: Recipe) -> str:
    lines = [
        "Documents were the teacher's: it encoded the English side of every test above. This model as a document encoder was not tested.",
        "The intervals know of the queries alone: another training seed is another model.",
        "A language that is not in the table above was not trained; do not expect transfer to it without a test.",
        f"Texts were cut at {recipe.student.max_tokens} tokens; longer ones were never seen.",
    ]
    if recipe.evaluation.centre == "teacher-mean":
        lines.append(
            "The vectors have lost the teacher's mean token (`centre.safetensors`), as in the evaluation: subtract it from the teacher's "
            "document vectors too, before they are normalised."
        )
    if recipe.evaluation.centre == "language-mean":
        lines.append(
            "The student was scored after the mean token of their language (over training texts) was subtracted from the queries, and the "
            "teacher's (`centre.safetensors`) from the documents. This folder does neither: do both, before vectors are normalised."
        )
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _making(run: RunFolder, trial: TrialFolder, recipe: Recipe, provenance: Mapping[str, Any], sweep: str) -> str:
    resources = json.loads(trial.resources.read_text(encoding="utf-8")) if trial.resources.is_file() else {}
    shown, own = _hide_paths(recipe.to_dict()), recipe.to_dict()
    options = "".join(f" --{name} {resources[name]}" for name in ("workers", "threads", "device") if name in resources)
    versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items() if version)
    git = provenance.get("git") or {}
    commit = f", commit `{git['commit'][:12]}`{' with local changes' if git.get('dirty') else ''}" if git.get("commit") else ""
    exported = describe_provenance()["versions"]
    paths = "" if shown == own else " Names of local folders stand for their paths: put yours in."
    return f"""Trial `{trial.trial_id}` of `{sweep}`. To make it again, save the recipe below as `recipe.json` and run the command.{paths}

    optical train recipe.json{options}

Trained with {versions}{commit}; exported with optical-ray {exported["optical-ray"]}.

```json
{json.dumps(shown, indent=2, ensure_ascii=False)}
```
"""


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
