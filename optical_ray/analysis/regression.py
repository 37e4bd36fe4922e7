"""What goes along with the retrieval of a language, everything at once: a linear mixed model over trained students and languages.

A row is the mean Success@1 of one finished, trained student on one query language. Fixed: the arm, and what the design says of the set of
training languages and of the language itself (COVARIATES). Random, crossed (Baayen, Davidson & Bates 2008, doi 10.1016/j.jml.2007.12.005):
languages, with a slope of their own for the number of languages (Barr et al. 2013, doi 10.1016/j.jml.2012.11.001: without it an effect of
k would be claimed for languages in general from a few that happen to agree); training seeds; and the student, whose languages share what
went well or ill in its training, so that a covariate of the set is judged by the number of students and not by that of rows. Fitted by
REML (statsmodels). Intervals and p-values are Wald's by Student's t, with one degree of freedom less than there are languages or students,
whichever are fewer (a containment rule: Pinheiro & Bates 2000, section 2.4.2; the normal distribution, statsmodels' own, is too narrow for
a handful of languages).

Assumed: effects add up and are linear in the covariates as given; random effects and residuals are normal with equal variance, which a
share near 0 or 1 is not quite. A language stands for languages like those that were evaluated.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student_t

from optical_ray.analysis.design import FEW_SEEDS, PartView
from optical_ray.analysis.load import Trial
from optical_ray.analysis.outcomes import SUCCESS
from optical_ray.analysis.sources import STUDENT, Sources
from optical_ray.retrieval.intervals import Interval

LEAST_LANGUAGES, LEAST_STUDENTS = 3, 4
"""Below, a spread between languages, or between students, is a guess."""
MOST_ROWS = 1_000
"""Beyond, whole students are left out at random: the matrices of crossed effects are dense."""
SAME = 0.98
"""Share of a covariate's variance that those before it explain, from which on it cannot be told from them."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Covariate:
    """A number of a student and a language."""

    name: str
    unit: str
    """What one unit of it is, after "per"; of a yes or no, what is compared."""
    value: Callable[[Trial, str], float | None]
    """None: not known."""


def _entropy(trial: Trial, language: str) -> float | None:
    return _number((trial.plan or {}).get("entropy_nats"))


def _distance(trial: Trial, language: str) -> float | None:
    """Of a language that is in the set too: it is one of those it is near to."""
    found = _number(_evaluation(trial, language).get("mean_distance"))
    return None if found is None else 10.0 * found


def _rows(trial: Trial, language: str) -> float | None:
    rows = (trial.plan or {}).get("rows")
    count = _number(rows.get(language, 0)) if isinstance(rows, Mapping) else None
    return None if count is None else math.log2(1.0 + count)


def _evaluation(trial: Trial, language: str) -> Mapping[str, Any]:
    diversity = (trial.plan or {}).get("diversity")
    every = diversity.get("evaluation") if isinstance(diversity, Mapping) else None
    found = every.get(language) if isinstance(every, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _yes(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _pretraining_size(trial: Trial, language: str) -> float | None:
    known = (trial.plan or {}).get("pretraining_languages")
    found = known.get("languages") if isinstance(known, Mapping) else None
    return math.log2(1.0 + len(found)) if isinstance(found, Sequence) and not isinstance(found, str) else None


def _log_k(trial: Trial, language: str, trained: bool) -> float | None:
    """Of a language of the other kind: 0, so that each kind has a slope of its own."""
    is_trained = language in (trial.languages or ())
    size = trial.bitext_size
    return None if not size else math.log2(size) * (is_trained == trained)


K_TRAINED, K_OTHERS = "log2 k, in training", "log2 k, others"
COVARIATES = (
    Covariate("in training", "a language in training against one that is not", lambda trial, name: _yes(name in (trial.languages or ()))),
    Covariate(K_TRAINED, "doubling of the number of bitext languages, for a language among them", lambda t, name: _log_k(t, name, True)),
    Covariate(K_OTHERS, "doubling of the number of bitext languages, for any other language", lambda t, name: _log_k(t, name, False)),
    Covariate("diversity entropy", "nat of the entropy of the language shares", _entropy),
    Covariate("log2 rows", "doubling of the language's training rows", _rows),
    Covariate("typological distance", "0.1 of mean distance from the training languages", _distance),
    Covariate("log2 pre-training languages", "doubling of one plus the languages in pre-training", _pretraining_size),
    Covariate(
        "seen in pre-training", "a language in pre-training against one that is not", lambda t, name: _yes(t.saw_in_pretraining(name))
    ),
)
"""In the order in which they are kept, where two say the same."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A coefficient, in Success@1 per unit."""

    name: str
    unit: str
    interval: Interval


@dataclass(frozen=True)
class Regression:
    """The fitted model, or why there is none."""

    effects: tuple[Effect, ...] = ()
    deviations: Mapping[str, float] = field(default_factory=dict)
    """Standard deviations of the random effects, in Success@1: language, its slope over k, seed, student, and the residual."""
    num_rows: int = 0
    num_students: int = 0
    num_languages: int = 0
    num_seeds: int = 0
    notes: tuple[str, ...] = ()
    """What was left out, and what the intervals cannot carry; without effects, why there are none."""


def regression_table(sources: Sources, parts: Sequence[PartView]) -> pd.DataFrame:
    """`student`, `seed`, `arm`, `language`, `value` and the covariates (NaN: not known) of the grid's finished, trained students."""
    rows = []
    for part in parts:
        for trial in part.trials if part.kind == "grid" else ():
            if trial.finished and trial.arm not in ("none", "unknown"):
                for language, outcomes in sorted(sources.student([trial], name=STUDENT).items()):
                    row: dict[str, Any] = {"student": trial.trial_id, "seed": str(trial.fields.get("seed")), "arm": trial.arm}
                    row |= {"language": language, "value": float(outcomes.at(SUCCESS).mean())}
                    row |= {covariate.name: covariate.value(trial, language) for covariate in COVARIATES}
                    rows.append(row)
    columns = ["student", "seed", "arm", "language", "value", *(covariate.name for covariate in COVARIATES)]
    return pd.DataFrame(rows, columns=columns).astype({covariate.name: float for covariate in COVARIATES})


def fit_regression(table: pd.DataFrame) -> Regression:
    """Fit the model to what `regression_table` gives. Never raises for the data's sake: without a fit, `notes` says why."""
    notes: list[str] = []
    students = sorted(set(table["student"]))
    if len(students) < LEAST_STUDENTS or table["language"].nunique() < LEAST_LANGUAGES:
        found = f"{len(students)} finished students, {table['language'].nunique()} languages"
        return Regression(notes=(f"No regression: {found}; expected at least {LEAST_STUDENTS} and {LEAST_LANGUAGES}.",))
    if len(table) > MOST_ROWS:
        kept = np.random.default_rng(0).permutation(students)[: max(LEAST_STUDENTS, MOST_ROWS * len(students) // len(table))]
        table = table[table["student"].isin(kept)]
        notes.append(f"{len(kept)} of {len(students)} students, drawn at random, are in the regression.")
    fixed, dropped = _choose(table)
    notes += dropped
    if not fixed:
        return Regression(notes=(*notes, "No regression: nothing that it could explain varies."))
    table = table.dropna(subset=[covariate.name for covariate in fixed])
    numbers = {
        "num_rows": len(table),
        "num_students": int(table["student"].nunique()),
        "num_languages": int(table["language"].nunique()),
        "num_seeds": int(table["seed"].nunique()),
    }
    if numbers["num_seeds"] < FEW_SEEDS:
        notes.append(
            f"{numbers['num_seeds']} training seed{'s' if numbers['num_seeds'] > 1 else ''}: the intervals are as wide as the students "
            "differ here, which few trainings tell badly; five or more would."
        )
    try:
        effects, deviations = _fit(table, fixed)
    except (np.linalg.LinAlgError, ValueError, _NotConverged) as error:
        effects, deviations = (), {}
        notes.append(f"No regression: the model could not be fitted ({error}).")
    return Regression(
        effects, deviations, numbers["num_rows"], numbers["num_students"], numbers["num_languages"], numbers["num_seeds"], tuple(notes)
    )


class _NotConverged(Exception):
    pass


def _choose(table: pd.DataFrame) -> tuple[list[Covariate], list[str]]:
    """The covariates that are known, vary, and are not told by the arm and those before them; and what to say of the others."""
    columns = [np.ones(len(table))] + [(table["arm"] == arm).to_numpy(float) for arm in sorted(set(table["arm"]))[1:]]
    kept: list[Covariate] = []
    notes = []
    for covariate in COVARIATES:
        values = table[covariate.name].to_numpy()
        known = np.isfinite(values)
        if known.mean() < 0.5 or np.ptp(values[known]) < 1e-9:
            continue  # nobody asked about it
        design = np.column_stack(columns)
        fitted, *_ = np.linalg.lstsq(design[known], values[known], rcond=None)
        if np.var(values[known] - design[known] @ fitted) < (1 - SAME) * np.var(values[known]):
            notes.append(f"{covariate.name!r} is left out: here it follows from {'; '.join(repr(one.name) for one in kept) or 'the arm'}.")
            continue
        if not known.all():
            notes.append(f"{covariate.name!r} is not known of {int((~known).sum())} of {len(known)} rows, which are left out.")
        kept.append(covariate)
        columns.append(np.where(known, values, values[known].mean()))
    return kept, notes


def _fit(table: pd.DataFrame, fixed: Sequence[Covariate]) -> tuple[tuple[Effect, ...], dict[str, float]]:
    arms = sorted(set(table["arm"]))
    columns: dict[str, npt.NDArray[np.float64]] = {"intercept": np.ones(len(table))}
    columns |= {name: (table["arm"] == arm).to_numpy(float) for name, arm in _arm_names(arms).items()}
    for covariate in fixed:
        values = table[covariate.name].to_numpy()
        columns[covariate.name] = values - values.mean()  # so that a language's slope and its level are apart
    exog = pd.DataFrame(columns)
    random = {"language": _indicators(table["language"]), "student": _indicators(table["student"])}
    if table["seed"].nunique() > 1 and table["student"].nunique() > table["seed"].nunique():
        random["seed"] = _indicators(table["seed"])
    sizes = sum(table[name].to_numpy() for name in (K_TRAINED, K_OTHERS))
    if {K_TRAINED, K_OTHERS} & columns.keys():
        random["slope over k"] = random["language"] * (sizes - sizes.mean())[:, None]
    result, left_out = _fit_reml(table["value"].to_numpy(), exog, random)
    names = sorted(random.keys() - left_out)
    spread = student_t(min(table["language"].nunique(), table["student"].nunique()) - 1)
    reach = float(spread.ppf((1 + CONFIDENCE) / 2))
    units = {name: f"against {arms[0]}" for name in _arm_names(arms)} | {one.name: one.unit for one in fixed}
    effects = []
    for name, unit in units.items():
        estimate, error = float(result.fe_params[name]), float(result.bse_fe[name])
        p_value = float(2 * spread.sf(abs(estimate) / error))
        effects.append(Effect(name, unit, Interval(estimate, estimate - reach * error, estimate + reach * error, p_value)))
    variances = dict.fromkeys(left_out, 0.0) | dict(zip(names, result.vcomp, strict=True)) | {"residual": result.scale}
    return tuple(effects), {name: math.sqrt(max(0.0, float(value))) for name, value in variances.items()}


def _arm_names(arms: Sequence[str]) -> dict[str, str]:
    """All but the first, by what their coefficients are called."""
    return {f"arm: {arm}": arm for arm in arms[1:]}


def _fit_reml(values: npt.NDArray[np.float64], exog: pd.DataFrame, random: Mapping[str, npt.NDArray[np.float64]]) -> tuple[Any, set[str]]:
    """The fit, and the random effects that were left out of it: where a variance is 0, standard errors may not exist beside it, and the
    model without it is the same."""
    from statsmodels.regression.mixed_linear_model import MixedLM  # here: a second to import

    left_out: set[str] = set()
    while True:
        names = sorted(random.keys() - left_out)
        model = MixedLM(values, exog, groups=np.ones(len(values)), exog_vc=_components(names, random))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a variance at 0, which is an answer; convergence is asked for below
            result = model.fit(reml=True, method="powell")  # lbfgs stops short of the optimum here
            has_errors = bool(np.isfinite(result.bse_fe).all())
        if not result.converged:
            raise _NotConverged("it did not converge")
        if has_errors:
            return result, left_out
        variance, least = min(zip(result.vcomp, names, strict=True))
        if variance > 1e-2 * result.scale or len(names) == 1:
            raise _NotConverged("its standard errors are not finite")
        left_out.add(least)


def _indicators(labels: pd.Series[str]) -> npt.NDArray[np.float64]:
    """One column per label, [rows, labels]."""
    codes, names = pd.factorize(labels, sort=True)
    return np.asarray(np.eye(len(names))[codes], dtype=np.float64)


def _components(names: Sequence[str], random: Mapping[str, npt.NDArray[np.float64]]) -> Any:
    """As MixedLM takes them: of its single group."""
    from statsmodels.regression.mixed_linear_model import VCSpec

    return VCSpec(
        list(names), [[[str(place) for place in range(random[name].shape[1])]] for name in names], [[random[name]] for name in names]
    )
