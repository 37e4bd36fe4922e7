"""Who answered the queries: the students of some trials, the lexical floor, the untrained student; one task, one scorer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from optical_ray.analysis.design import untrained_trials
from optical_ray.analysis.load import Run, Trial
from optical_ray.analysis.outcomes import Languages, Outcomes, System, average, count_sentences, relevant_ids

STUDENT, MEAN_REMOVED, LEXICAL, MEMORY = "student", "mean-removed", "lexical", "translation-memory"
ZERO_SHOT = "zero-shot"
REMOVED = {
    MEAN_REMOVED: "means removed",
    "mean-removed-train": "training means removed",
    "components-removed": "components removed",
}
"""Systems that are a student with what tells its language apart taken out, and what tables call the removal."""
DEFAULT_TASK = "bitext"
DEFAULT_SCORER = "maxsim"  # EvaluationConfig.scorer's default, for a base recipe that does not say


@dataclass(frozen=True)
class Sources:
    """Outcomes by system, on the run's main task."""

    run: Run
    index: Mapping[str, Mapping[System, Mapping[str, Outcomes]]]
    task: str
    scorer: str
    """The base recipe's `evaluation.scorer`: what every comparison uses, chosen before a test row existed."""

    @cached_property
    def systems(self) -> list[System]:
        """Every system of the task that any finished trial has."""
        return sorted({system for trial in self.index.values() for system in trial if system.task == self.task})

    def student(self, trials: Iterable[Trial], scorer: str | None = None, name: str = STUDENT) -> dict[str, Outcomes]:
        """The trials' students, averaged over seeds; empty when none of them has outcomes."""
        system = System(self.task, name, scorer or self.scorer)
        found = [self.index[trial.trial_id][system] for trial in trials if system in self.index.get(trial.trial_id, {})]
        return average(found)

    def lexical(self, trials: Iterable[Trial] = ()) -> Languages:
        """The lexical floor; see `reference`."""
        return self.reference(LEXICAL, trials)

    def memory(self, trials: Iterable[Trial] = ()) -> Languages:
        """The translation memory: what near-duplicates of the training rows give away; see `reference`."""
        return self.reference(MEMORY, trials)

    def reference(self, name: str, trials: Iterable[Trial] = ()) -> Languages:
        """A reference as these trials stored it, else as any trial did: it does not depend on training."""
        for trial_id in chain((trial.trial_id for trial in trials), self.index):
            for system, languages in sorted(self.index.get(trial_id, {}).items()):
                if system.task == self.task and system.name == name:
                    return languages
        return {}

    @property
    def lexical_name(self) -> str:
        """As figures label it."""
        scorers = sorted({system.scorer for system in self.systems if system.name == LEXICAL})
        return "TF-IDF" if scorers in ([], ["tfidf"]) else f"lexical ({scorers[0]})"

    def untrained(self) -> dict[str, Outcomes]:
        """The untrained control, averaged over its seeds; empty when it has not finished."""
        return self.student(untrained_trials(self.run))

    @cached_property
    def evaluated(self) -> list[str]:
        """Query languages of the task that any finished trial has, sorted."""
        return sorted(
            {name for trial in self.index.values() for system, names in trial.items() if system.task == self.task for name in names}
        )

    def size(self) -> tuple[int, int] | None:
        """(queries, different sentences that they ask for) of the system that answered most of the task; None without outcomes."""
        different = {
            tuple(id(own.relevant_Q) for own in found.values()): found  # trials that were asked the same share the arrays
            for trial in self.index.values()
            for system, found in trial.items()
            if system.task == self.task
        }
        sizes = [
            (sum(len(outcomes.query_Q) for outcomes in found.values()), count_sentences(relevant_ids(found, found)))
            for found in different.values()
        ]
        return max(sizes, default=None)

    def chance(self, languages: Iterable[str]) -> float | None:
        """Success@1 of a random order, mean over the languages; None without outcomes."""
        for trial in self.index.values():
            for system, found in trial.items():
                if system.task == self.task:
                    values = [found[name].chance for name in languages if name in found]
                    if values:
                        return sum(values) / len(values)
        return None


def open_sources(run: Run) -> Sources:
    """Index the run's per-query rows; the main task is `bitext`, or the first by name."""
    tasks = sorted({system.task for trial in run.outcomes.values() for system in trial})
    task = DEFAULT_TASK if DEFAULT_TASK in tasks or not tasks else tasks[0]
    evaluation = run.record.base.get("evaluation")
    scorer = evaluation.get("scorer") if isinstance(evaluation, dict) else None
    return Sources(run, run.outcomes, task, str(scorer or DEFAULT_SCORER))
