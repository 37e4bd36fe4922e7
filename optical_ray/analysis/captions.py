"""What stands under a figure and at the end of the page: how to read it, how it was computed, where it came from."""

from __future__ import annotations

from optical_ray.analysis.analyse import Analysis
from optical_ray.analysis.design import FEW_SEEDS, MOST_CURVES, show, training_trials, untrained_trials
from optical_ray.analysis.phrases import describe_size, listing, number, plural
from optical_ray.analysis.regression import Regression
from optical_ray.analysis.summary import LINEAR, MOST_BOOTSTRAPPED
from optical_ray.runs.labels import flatten

TOGETHER = "queries that ask for the same English sentence are resampled together"


def k_caption(analysis: Analysis) -> str:
    """Under the panels over k."""
    smallest = sorted(analysis.smallest & set(analysis.sources.evaluated))
    scored = f" ({listing(smallest)})" if 0 < len(smallest) <= 8 else ""
    none = " (none: without pre-training)" if any(cell.k == 0 for cell in analysis.cells) else ""
    text = (
        f"Success@1 against k, the number of {analysis.axis} languages{none}. "
        f"Whiskers: {level(analysis)} bootstrap intervals over English sentences ({TOGETHER}), languages held fixed; {seeds(analysis)}. "
        "Points are moved sideways a little so that whiskers do not hide each other. "
        f"Dashed: {analysis.sources.lexical_name}; dash-dotted: a translation memory over all training rows "
        "of the language; dotted: the untrained student; all on the same languages. "
        f"Smallest set{scored}: the same languages at every k, so only this panel shows what more languages do. "
        "In the other panels the languages change with k: read each point against its own floor, not against its neighbour."
    )
    draws = _draws(analysis, smallest[0]) if smallest else ""
    return text + draws


def _draws(analysis: Analysis, language: str) -> str:
    """How often a language is drawn at each k: with equal steps, more languages mean less practice in each."""
    found: dict[int, int] = {}
    for cell in analysis.cells:
        plan = cell.trials[0].plan or {}
        draws = plan.get("draws")
        if isinstance(draws, dict) and isinstance(draws.get(language), int):
            found[cell.k] = draws[language]
    if len(found) < 2 or len(set(found.values())) == 1:
        return ""
    each = listing(f"{count:,} at k = {k}" for k, count in sorted(found.items()))
    return f" Pairs of {language} drawn in training: {each}."


def language_caption(analysis: Analysis) -> str:
    """Under the bars per language."""
    return (
        "Success@1 on each query language for the arms at the largest k. "
        f"Lines: {level(analysis)} bootstrap intervals over that language's queries; {seeds(analysis)}. "
        f"Grey: {analysis.sources.lexical_name}, by which the languages are ordered; solid mark: the translation memory; dotted: the "
        "untrained student."
    )


def training_caption(analysis: Analysis) -> str:
    """Under losses and diagnostics."""
    num_trials = len(training_trials(analysis.run, analysis.parts))
    few = f"{MOST_CURVES} of {num_trials:,} trials, evenly spread over their ranks by validation. " if num_trials > MOST_CURVES else ""
    return (
        f"{few}One line per trial, coloured by arm, line style by k. "
        "Losses of different terms have different units and are not compared. A falling loss proves nothing: "
        "a plan entropy near 1 means that the plan aligns nothing (epsilon too large for the spread of the cost), "
        "a within-sentence cosine near 1 that all tokens of a sentence point the same way. "
        "Trials with these verdicts, failed ones and those that a scheduler stopped early are marked at their last report, resumed ones "
        "where they went on."
    )


def effects_caption(regression: Regression) -> str:
    """Under the coefficients."""
    spreads = ", ".join(f"{name} {value:.3f}" for name, value in regression.deviations.items())
    return (
        f"A linear mixed model of the mean Success@1 of {plural(regression.num_students, 'trained student')} on each of "
        f"{plural(regression.num_languages, 'language')} ({regression.num_rows} rows), everything at once, with 95 % intervals; filled: "
        "it excludes 0, uncorrected for their number. Units are in the table. Languages (with a slope of their own over k), seeds and "
        f"students are random; standard deviations: {spreads}. What goes along with a covariate need not be caused by it: a grid sets k, "
        "nobody sets which languages are near. " + " ".join(regression.notes)
    ).rstrip()


def arms_caption(analysis: Analysis) -> str:
    """Under the differences from the baseline."""
    counts = sorted({len(arm.seeds) for arm in analysis.arms})
    seeds = ""
    if counts and counts[-1] > 1:
        seeds = f" Ticks: each of the {counts[-1]} training seeds."
        few = (
            "are too few for an interval of their own"
            if counts[-1] < FEW_SEEDS
            else "have their own interval (Student's t), as a thin line"
        )
        seeds += f" They {few}."
    return (
        f"Success@1 of each arm minus the baseline's, paired on the same queries, on the languages in training, with the {level(analysis)} "
        f"bootstrap interval over sentences; filled: a direction also stands after Holm's correction.{seeds} "
        "Another baseline: optical report RUN --baseline ARM."
    )


def relations_caption(analysis: Analysis) -> str:
    """Under quality against cost and plan."""
    return (
        "Test Success@1, mean over all evaluated languages, of every trial that shows its test score (of a search none does). "
        "Dashed: "
        f"{analysis.sources.lexical_name}; dotted: the untrained student. The front joins the trials that no other beats in both. "
        "CPU hours are those of the trial's own processes on the machine that it ran on. Trials differ in arm, k and settings: a trend "
        "over entropy is no effect of entropy."
    )


def heat_caption() -> str:
    """Under the maps."""
    return (
        "Validation Success@1, which is what a setting may be chosen by. A grid's field is the mean over its trials there, whatever else "
        "they differ in; a search's points were placed by its sampler. No intervals: only the mean of a validation is kept."
    )


def search_caption(analysis: Analysis) -> str:
    """Under the panels of a search."""
    sentences = [one.note for _, one in analysis.importances if one.note]
    if len(sentences) < len(analysis.importances):
        sentences.append(
            "Importance: the share of each dimension in being among the best trials (PED-ANOVA, arXiv 2304.10255, by Optuna), over "
            "finished trials; what the sampler hardly tried counts little."
        )
    lines = ["dashed: the grid's trial of the same arm and k"] if analysis.cells else []
    lines += ["dotted: the untrained student"] if untrained_trials(analysis.run) else []
    described = f"{'; '.join(lines)}, on validation (the lexical floor is measured on test only). ".capitalize() if lines else ""
    sentences.append(
        "Validation Success@1 of each search trial against each dimension; hollow: not finished. "
        f"The star is the trial that validation chose. {described}"
        "The points were placed by the sampler, which varies all dimensions at once: a trend in one panel may belong to another. "
        "No intervals: only the mean of a validation is kept."
    )
    return " ".join(sentences)


def methods(analysis: Analysis) -> list[str]:
    """One paragraph per item."""
    bootstrap = analysis.bootstrap
    size = analysis.sources.size()
    rests = [f"Test: {describe_size(*size)}."] if size else []
    if size and size[1] < size[0]:
        rests[0] += " Languages ask for the same sentences, and one that is hard to find is hard in many of them: they are not independent."
    chance = number(analysis.sources.chance(analysis.sources.evaluated))
    return [
        "Task: held-out bitext retrieval. A foreign sentence looks for its English translation among candidates of the same split; "
        "the teacher encodes the English side.",
        "Success@1: share of queries whose translation ranks first; ties count against us. "
        "MRR@10: reciprocal rank, 0 beyond the tenth. "
        "AP: average precision without cut-off (with one relevant candidate, the reciprocal rank). "
        "nDCG@10: discounted gain of the first ten.",
        "A mean over languages is the mean of the languages' means: languages count alike, however many queries they have.",
        *rests,
        f"Intervals: percentile bootstrap ({bootstrap.resamples:,} resamples, seed {bootstrap.seed}) over the English sentences, shared by "
        f"all languages: {TOGETHER}. In each language a query weighs as often as its sentence was drawn; "
        "the languages' weighted means are averaged, without a language none of whose sentences was drawn. "
        "They assume that the English sentences are independent draws, and speak of these languages, these candidates and these trained "
        "students: neither other languages nor other training seeds are in them. "
        "Where every query has the same outcome the interval has no width, which does not mean certainty.",
        *_linear_methods(analysis),
        "Differences are paired: taken query by query, then resampled by sentence. Their intervals are not corrected for their number; "
        "a direction is claimed only where Holm's correction over the comparisons of one kind also leaves the two-sided bootstrap p "
        f"at most {1 - bootstrap.confidence:.2g}.",
        *_regression_methods(analysis),
        "Selection: searches see the validation split only; the test split is scored once per trial, after training.",
        "OT's own share is the arm with both terms minus the arm with the contrastive loss alone; "
        "a mixed arm's score is never credited to OT.",
        f"Floors: {analysis.sources.lexical_name} on the query's own words; a translation memory, which answers with the "
        "English of the five nearest training rows; the student as it was initialised; "
        f"chance is {chance} (relevant / candidates).",
    ]


def _linear_methods(analysis: Analysis) -> list[str]:
    methods = analysis.summary["method"].unique().to_pylist()
    if LINEAR not in methods:
        return []
    return [
        f"The averages of single trials (the table of trials, summary.parquet) have linear intervals instead, since there are more than "
        f"{MOST_BOOTSTRAPPED} trials: the delta method over the same clusters, with Student's bounds, cut off at 0 and 1."
        f"  Curves and differences are resampled."
    ]


def _regression_methods(analysis: Analysis) -> list[str]:
    regression = analysis.regression
    if not regression.effects:
        return list(regression.notes)
    return [
        "Regression: a linear mixed model by REML (statsmodels), with crossed random effects of language, of its slope over k, of seed "
        "and of student; Wald intervals by Student's t with one degree of freedom less than there are languages or students, whichever are "
        "fewer. It assumes that effects add up, that shares behave like normal numbers with equal variance, and that these languages stand "
        "for others like them. A covariate that follows from those before it is left out, by name."
    ]


def provenance(analysis: Analysis) -> list[tuple[str, str]]:
    """(what, value): where the numbers come from."""
    record = analysis.run.record
    provenance = record.provenance
    rows = [("sweep", f"{record.name}, fingerprint {record.fingerprint[:12]}"), ("created", record.created_at)]
    git = provenance.get("git")
    if isinstance(git, dict):
        rows.append(("commit", f"{git.get('commit')}{' with uncommitted changes' if git.get('dirty') else ''}"))
    else:
        rows.append(("commit", "not run from a checkout"))
    for name in ("machine", "versions"):
        values = provenance.get(name)
        if isinstance(values, dict):
            rows.append((name, ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)))
    command = provenance.get("command")
    if isinstance(command, list):
        rows.append(("command", " ".join(map(str, command))))
    rows += _sources(analysis)
    trained = [trial for trial in analysis.run.trials if trial.status]
    seconds: dict[str, float] = {}
    for trial in trained:
        for stage, value in (trial.status.seconds if trial.status else {}).items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    if seconds:
        rows.append(("time, all trials", ", ".join(f"{stage} {value:.0f} s" for stage, value in seconds.items())))
        cost = {name: sum(getattr(trial.status, name) for trial in trained) for name in ("cpu_seconds", "gpu_seconds", "pairs_seen")}
        units = {"cpu_seconds": "CPU s", "gpu_seconds": "GPU s", "pairs_seen": "pairs of bitext seen"}
        rows.append(("cost, all trials", ", ".join(f"{value:,.0f} {units[name]}" for name, value in cost.items() if value)))
    return rows


def _sources(analysis: Analysis) -> list[tuple[str, str]]:
    """What was learnt from, with licences; whose encoders."""
    base = flatten(analysis.run.record.base)
    plans = [trial.plan for trial in analysis.run.trials if trial.plan is not None]
    licences: dict[str, str] = {}
    for plan in plans:
        own = plan.get("licences")
        licences |= {str(name): str(value or "licence not known") for name, value in own.items()} if isinstance(own, dict) else {}
    rows = []
    named = ", ".join(f"{name} ({licence})" for name, licence in sorted(licences.items()))
    origin = base.get("corpus.path") or show(base.get("corpus.sources"))
    corpora = sorted({str(plan["corpus"])[:12] for plan in plans if plan.get("corpus")})
    if named or corpora:
        rows.append(("data", f"{origin}: {named or 'sources not written down'}; corpus {', '.join(corpora) or 'not named'}"))
    for name, field in (("teacher", "teacher.path"), ("student", "student.init")):
        if field in base:
            varied = sorted({show(trial.fields[field]) for trial in analysis.run.trials if field in trial.fields}) or [show(base[field])]
            revision = base.get(f"{name}.revision")
            rows.append((name, ", ".join(varied) + (f", revision {revision}" if revision else "")))
    return rows


def seeds(analysis: Analysis) -> str:
    """How many trainings a point stands for."""
    counts = sorted({len(cell.trials) for cell in analysis.cells})
    if not counts or counts == [1]:
        return "one training seed"
    return f"mean of {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} training seeds"


def level(analysis: Analysis) -> str:
    """`95 %`"""
    return f"{100 * analysis.bootstrap.confidence:g} %"
