"""The answer first: sentences made from the numbers, in words that the intervals allow; then what is missing or doubtful.

A direction is claimed only where the paired 95 % interval excludes 0 and Holm's correction over the comparisons of its kind agrees;
otherwise the sentence says that no effect could be shown, and gives the interval all the same, since it bounds what the effect may be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from optical_ray.analysis.analyse import Analysis
from optical_ray.analysis.compare import (
    AGAINST_FLOOR,
    AGAINST_MEMORY,
    AGAINST_UNTRAINED,
    BESIDE,
    GRIDS_SETTING,
    MORE_LANGUAGES,
    OWN_SHARE,
    PRETRAINED,
    SEARCH,
    Comparison,
)
from optical_ray.analysis.curves import largest_cells
from optical_ray.analysis.design import FEW_SEEDS, PartView, describe_trial, short, show, untrained_trials
from optical_ray.analysis.load import PRETRAINING, Trial
from optical_ray.analysis.phrases import bracket, languages, listing, number, plural, size_of
from optical_ray.analysis.predicted import Verdict
from optical_ray.analysis.summary import ALL, UNSEEN
from optical_ray.runs import names
from optical_ray.runs.predictions import TRANSLATION_MEMORY

VERDICTS = {
    names.COLLAPSED: "collapsed: the tokens of one sentence point the same way, so its loss and its scores say little about the method",
    names.PLAN_UNIFORM: "plan uniform: epsilon is too large for the spread of the cost, so the plan aligns nothing",
}
MOST_NAMED = 20
"""Trials that one kind of trouble names."""
FEW_SENTENCES = 100
"""Below, percentile intervals are too short: of 95 %, resting on 80 sentences, 179 in 200 held a planted difference (docs/LABLOG.md)."""


def answer(analysis: Analysis) -> list[str]:
    """The answer, sentence by sentence; never empty."""
    sentences = [*_floors(analysis), *_memory(analysis), *_more_languages(analysis), *_pretraining(analysis)]
    sentences += [*_own_share(analysis), *_search(analysis)]
    sentences += [*_beside(analysis), *_predicted(analysis)]
    finished, planned = count_trials(analysis)
    stopped = sum(trial.state == "pruned" for trial in analysis.run.trials)
    count = f"{finished} of {planned} trials finished" + (f", {stopped} stopped early" if stopped else "")
    if not sentences:
        why = (
            "no trial has finished yet"
            if finished == 0
            else "no trial with test queries, of the grid or chosen by a search, has finished yet"
        )
        return [f"Nothing can be said so far: {why} ({finished} of {planned} finished)."]
    if finished + stopped == planned:
        return sentences
    unfinished = any(part.pending for part in analysis.parts) or any(trial.state in ("pending", "running") for trial in analysis.run.trials)
    return [f"{'So far' if unfinished else 'Of this sweep'} ({count}):", *sentences]


def count_trials(analysis: Analysis) -> tuple[int, int]:
    """(finished, planned or begun)."""
    planned = sum(max(part.planned, len(part.trials)) for part in analysis.parts)
    return sum(trial.finished for trial in analysis.run.trials), planned


def caveats(analysis: Analysis) -> list[str]:
    """What is missing, what went wrong, and what the intervals do not cover; one sentence each."""
    return [*_unfinished(analysis), *_verdicts(analysis), *_evidence(analysis), *_unread(analysis)]


def _success(analysis: Analysis, kind: str) -> list[Comparison]:
    return [row for row in analysis.comparisons if row.kind == kind and row.measure == "Success@1"]


def _floors(analysis: Analysis) -> list[str]:
    rows = [row for row in _success(analysis, AGAINST_FLOOR) if row.group != UNSEEN]
    if not rows:
        return []
    k = max(cell.k for cell in analysis.cells)
    floors = {number(row.second_mean) for row in rows}
    floor = f"the {rows[0].second} floor" + (f" ({floors.pop()})" if len(floors) == 1 else "")
    scope = (
        f"all {len(rows[0].languages)} evaluation languages"
        if rows[0].group == ALL
        else f"the {plural(len(rows[0].languages), 'language')} in training"
    )
    trained = f"With {plural(k, f'{analysis.axis} language')}" if k else "Without pre-training"
    lead = f"{trained}, in mean Success@1 over {scope}"
    return [f"{lead}, {'; '.join(_against(rows, floor))}{_untrained_clause(analysis)}."]


def _memory(analysis: Analysis) -> list[str]:
    rows = [row for row in _success(analysis, AGAINST_MEMORY) if row.group != UNSEEN]
    if not rows:
        return []
    memory = f"the translation memory ({number(rows[0].second_mean)})"
    return [f"Against what near-duplicates of training rows give away without training, {'; '.join(_against(rows, memory))}."]


def _untrained_clause(analysis: Analysis) -> str:
    rows = [row for row in _success(analysis, AGAINST_UNTRAINED) if row.group != UNSEEN]
    if not rows:
        return ""
    level = f"the untrained student ({number(rows[0].second_mean)})"
    if len(rows) > 1 and all(row.direction == "above" for row in rows):
        least = min(rows, key=lambda row: row.difference.estimate)
        return f"; every arm is above {level}, by at least {size_of(least.difference)}"
    return "; " + "; ".join(_against(rows, level))


def _more_languages(analysis: Analysis) -> list[str]:
    rows = _success(analysis, MORE_LANGUAGES)
    if not rows:
        return []
    largest = max(cell.k for cell in analysis.cells)
    starts = sorted({int(row.second.rpartition("k = ")[2]) for row in rows})
    start = " or ".join(map(str, starts))
    what = f"Success@1 on {languages(rows[0].languages)}"
    higher, lower, unclear = _by_direction(rows)
    clauses = []
    for found, verb in ((higher, "rose"), (lower, "fell")):
        if found:
            clauses.append(f"{what} {verb} by " + listing(f"{size_of(row.difference)} for {_subject(row)}" for row in found))
            what = "it"
    if unclear:
        whose = f" of {what}" if what != "it" else ""
        clauses.append(f"no change{whose} could be shown for {listing(f'{_subject(row)} ({bracket(row.difference)})' for row in unclear)}")
    return [f"From {start} to {plural(largest, f'{analysis.axis} language')}{_budget(analysis)}, {'; '.join(clauses)}."]


def _budget(analysis: Analysis) -> str:
    """What was held fixed while languages were added, where all cells agree on it."""
    fields = [trial.fields for cell in analysis.cells for trial in cell.trials if cell.k]
    owner = "pretraining." if analysis.axis == PRETRAINING else ""
    budgets = {leaves.get(f"{owner}mixing.budget") for leaves in fields}
    steps = {leaves.get(f"{owner}training.max_steps") for leaves in fields}
    phrase = (
        {"total": "equal total text", "per_language": "equal text per language"}.get(str(next(iter(budgets))))
        if len(budgets) == 1
        else None
    )
    parts = [part for part in (phrase, "equal steps" if len(steps) == 1 else None) if part]
    return f" at {listing(parts)}" if parts else ""


def _pretraining(analysis: Analysis) -> list[str]:
    rows = [row for row in _success(analysis, PRETRAINED) if row.group != UNSEEN]
    if not rows:
        return []
    lead = f"Pre-training on {plural(max(cell.k for cell in analysis.cells), 'language')}"
    clauses = []
    higher, lower, unclear = _by_direction(rows)
    for found, verb in ((higher, "raised"), (lower, "lowered")):
        if found:
            clauses.append(f"{verb} mean Success@1 by " + listing(f"{size_of(row.difference)} for {_subject(row)}" for row in found))
    if unclear:
        whom = listing(f"{_subject(row)} ({bracket(row.difference)})" for row in unclear)
        clauses.append(f"{'had no effect that could be shown' if not clauses else 'none could be shown'} for {whom}")
    return [f"{lead} {'; '.join(clauses)}, beside the same distillation without it."]


def _own_share(analysis: Analysis) -> list[str]:
    rows = _success(analysis, OWN_SHARE)
    if not rows:
        return []
    row = rows[-1]  # cells are ordered by k: the largest
    change, where = row.difference, f"({row.first} against {row.second})"
    if row.direction == "not shown":
        return [f"No share of OT beside the contrastive loss could be shown: {bracket(change)} {where}."]
    verb = "raised" if row.direction == "above" else "lowered"
    return [f"Adding OT to the contrastive loss {verb} mean Success@1 by {size_of(change)} {where}."]


def _search(analysis: Analysis) -> list[str]:
    rows = _success(analysis, SEARCH)
    sentences = []
    for part in analysis.parts:
        own = [row for row in rows if row.first.startswith(f"{part.name}: ")]
        beside_grid = [row for row in own if row.second.endswith(GRIDS_SETTING)]
        for row in beside_grid:
            change = row.difference
            lead = f"The setting that the search chose on validation ({row.first.split(': ')[1].split(' ')[0]})"
            if row.direction != "not shown":
                sentences.append(f"{lead} is {row.direction} the grid's setting on test by {size_of(change)}.")
            else:
                sentences.append(f"{lead} cannot be told from the grid's setting on test: {bracket(change)}.")
        if own and not beside_grid and part.best is not None:
            sentences.append(_chosen(analysis, part, part.best, own))
    return sentences


def _chosen(analysis: Analysis, part: PartView, best: Trial, rows: list[Comparison]) -> str:
    """What a search chose where no trial of a grid stands beside it."""
    first = rows[0]
    settings = listing(f"{short(name)} {show(best.fields.get(name))}" for name in part.space)
    scope = f"all {len(first.languages)} evaluation languages"
    if first.group != ALL:
        scope = f"the {plural(len(first.languages), 'language')} in training"
    test = analysis.success(best, first.group)
    clauses = []
    for row in rows:
        other = f"the {row.second}{'' if row.second == TRANSLATION_MEMORY else ' floor'} ({number(row.second_mean)})"
        if row.direction == "not shown":
            clauses.append(f"no difference from {other} could be shown ({bracket(row.difference)})")
        else:
            clauses.append(f"{row.direction} {other} by {size_of(row.difference)}")
    scored = sum(trial.objective is not None for trial in part.trials)
    return (
        f"Of {plural(scored, 'searched setting')} validation chose {settings} ({best.trial_id}); on test its mean Success@1 over {scope} "
        f"is {number(first.first_mean) if test is None else bracket(test)}: {'; '.join(clauses)}."
    )


def _beside(analysis: Analysis) -> list[str]:
    if analysis.other is None:
        return []
    name, rows = analysis.other.path.name, _success(analysis, BESIDE)
    if not rows:
        return [f"No setting of {name} with the same arm and k has queries in common with this run's."]
    higher, lower, unclear = _by_direction(rows)
    clauses = []
    for found, word in ((higher, "above"), (lower, "below")):
        if found:
            clauses.append(f"{listing(f'{row.first} is {word} by {size_of(row.difference)}' for row in found)}")
    if unclear:
        clauses.append(f"no difference could be shown for {listing(f'{row.first} ({bracket(row.difference)})' for row in unclear)}")
    return [f"Beside {name}, at the same arm and k on the same queries: {'; '.join(clauses)}."]


def _predicted(analysis: Analysis) -> list[str]:
    counts = Counter(one.verdict for one in analysis.predictions)
    found = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
    return [f"Of {plural(len(analysis.predictions), 'prediction')} made beforehand: {listing(found)}."] if found else []


def _against(rows: Sequence[Comparison], level: str) -> list[str]:
    """One clause per direction that occurs: `OT is above LEVEL by ..., contrastive by ...`."""
    clauses = []
    *found, unclear = _by_direction(rows)
    for some, word in zip(found, ("above", "below"), strict=True):
        if some:
            items = [f"{_subject(row)}{f' is {word} {level}' if row is some[0] else ''} by {size_of(row.difference)}" for row in some]
            clauses.append(listing(items))
    if unclear:
        whom = listing(f"{_subject(row)} ({bracket(row.difference)})" for row in unclear)
        clauses.append(f"no difference from {level} could be shown for {whom}")
    return clauses


def _by_direction(rows: Sequence[Comparison]) -> tuple[list[Comparison], list[Comparison], list[Comparison]]:
    """(shown to be above, shown to be below, neither)"""
    above, below, neither = ([row for row in rows if row.direction == side] for side in ("above", "below", "not shown"))
    return above, below, neither


def _subject(row: Comparison) -> str:
    return row.first.rpartition(", k = ")[0] or row.first


def _unfinished(analysis: Analysis) -> list[str]:
    notes: list[str] = []
    states = Counter(trial.state for trial in analysis.run.trials if not trial.finished)
    states["pending"] += sum(part.pending for part in analysis.parts)
    stopped = states.pop("pruned", 0)
    counts = [f"{count} {state}" for state, count in sorted(states.items()) if count]
    finished, planned = count_trials(analysis)
    if counts:
        without = planned - finished - stopped
        notes.append(f"{without} of {plural(planned, 'trial')} {'has' if without == 1 else 'have'} no result: {listing(counts)}.")
    if stopped:
        notes.append(
            f"{stopped} of {plural(planned, 'trial')} {'was' if stopped == 1 else 'were'} stopped early by the scheduler, on "
            "validation alone: they have curves and no test scores."
        )
    failed, running = [], []
    for trial in analysis.run.trials:
        if trial.state == "failed":
            error = trial.status.error if trial.status and trial.status.error else "no reason was written"
            failed.append(f"Trial {describe_trial(trial)} failed: {error.rstrip('.')}.")
        elif trial.state == "running" and trial.status and trial.status.updated_at:
            running.append(f"Trial {describe_trial(trial)} says that it is running; its last sign of life is {trial.status.updated_at}.")
    return [*notes, *_first(failed, "that failed"), *_first(running, "in state running")]


def _verdicts(analysis: Analysis) -> list[str]:
    found: dict[str, list[str]] = {}
    for trial in analysis.run.trials:
        for verdict in trial.status.verdicts if trial.status else []:
            found.setdefault(verdict, []).append(f"Trial {describe_trial(trial)} is {VERDICTS.get(verdict, verdict)}.")
    return [note for verdict, notes in found.items() for note in _first(notes, f"with verdict {verdict.replace('_', ' ')}")]


def _evidence(analysis: Analysis) -> list[str]:
    notes = []
    seeds = sorted({len(cell.trials) for cell in analysis.cells})
    if seeds == [1]:
        notes.append(
            "One training seed per setting: the intervals are over test sentences only. "
            "How far another seed would move a result, this run cannot show."
        )
    elif seeds and seeds[0] < FEW_SEEDS:
        notes.append(
            f"{seeds[0]}{f' to {seeds[-1]}' if seeds[0] != seeds[-1] else ''} training seeds per setting are averaged; "
            "the intervals are over test sentences only and do not cover the spread between seeds."
        )
    elif not seeds and any(part.best for part in analysis.parts):
        notes.append("Every searched setting was trained once: how far another seed would move a result, this run cannot show.")
    size = analysis.sources.size()
    if size is not None and size[1] < FEW_SENTENCES:
        notes.append(f"The intervals rest on {plural(size[1], 'English sentence')}, too few: they are shorter than their level says.")
    smallest = sorted(analysis.smallest & set(analysis.sources.evaluated))
    if len({cell.k for cell in analysis.cells}) > 1:
        if len(smallest) == 1:
            notes.append(f"Curves over k rest on one language ({smallest[0]}), the only one that every set holds.")
        elif not smallest:
            notes.append("The language sets share no evaluated language, so no curve over k is scored on the same languages.")
    if analysis.cells and not analysis.sources.lexical():
        notes.append("No lexical floor is stored with the finished trials.")
    if analysis.cells and not untrained_trials(analysis.run):
        notes.append("No untrained control has finished.")
    largest = [cell.series for cell in largest_cells(analysis.cells)]
    absent = list(dict.fromkeys(cell.series for cell in analysis.cells if cell.series not in largest))
    if absent:
        verb = "has" if len(absent) == 1 else "have"
        notes.append(f"{listing(absent)} {verb} no finished trial at the largest k, so the arms are compared without.")
    unmatched = max((row.unmatched for row in analysis.comparisons), default=0)
    if unmatched:
        notes.append(
            "Not every system answered the same queries: "
            f"up to {plural(unmatched, 'query')} of one side were left out of a paired difference."
        )
    doubtful = [
        row for row in analysis.comparisons if row.measure == "Success@1" and row.difference.excludes_zero and row.direction == "not shown"
    ]
    if doubtful:
        verb = "excludes" if len(doubtful) == 1 else "exclude"
        notes.append(
            f"{plural(len(doubtful), 'interval')} {verb} 0 by itself but not after Holm's correction for the comparisons of its kind, "
            "so no direction is claimed: "
            + "; ".join(f"{row.first} minus {row.second} on {row.group}, {bracket(row.difference)}" for row in doubtful)
            + "."
        )
    git = analysis.run.record.provenance.get("git")
    if isinstance(git, dict) and git.get("dirty"):
        notes.append("The checkout had changes that were not committed: the commit alone does not reproduce this run.")
    return notes


def _unread(analysis: Analysis) -> list[str]:
    notes = [f"Trial {describe_trial(trial)}: {'; '.join(trial.problems)}." for trial in analysis.run.trials if trial.problems]
    return _first(notes, "with files that have problems")


def _first(notes: list[str], what: str) -> list[str]:
    """Some of them, and how many more there are."""
    left = len(notes) - MOST_NAMED
    return [*notes[:MOST_NAMED], *([f"And {plural(left, 'further trial')} {what}: see trials.csv."] if left > 0 else [])]
