"""A student's outcomes on bitext tasks: encode the queries, look the candidates up in the teacher's tokens, score, rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from optical_ray.data.teacher_cache import TeacherVectors
from optical_ray.encoders.config import Scorer, StudentConfig
from optical_ray.encoders.interaction import SCORERS, TokenClouds
from optical_ray.encoders.student import Student
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.retrieval.config import EvaluationConfig
from optical_ray.retrieval.encoding import encode_texts
from optical_ray.retrieval.measures import query_rows, rank_of_gold
from optical_ray.retrieval.removal import LanguageSamples, principal_components, remove_components, remove_mean
from optical_ray.retrieval.search.scoring import Seekers, score_block
from optical_ray.retrieval.tasks import BitextTask
from optical_ray.runs import names
from optical_ray.runs.schemas import QUERIES

DRIFT_SENTENCES = 256  # English sentences that the drift is measured on, at most


def teacher_clouds(teacher: TeacherVectors, english_ids: Iterable[int]) -> TokenClouds:
    """The teacher's tokens of some English sentences."""
    vectors_TD, lengths = teacher.gather(np.fromiter(english_ids, np.int32))
    return TokenClouds(torch.from_numpy(vectors_TD).float(), torch.from_numpy(lengths))


class BitextEvaluator:
    """Tasks with everything that does not change from student to student: token ids and the teacher's candidate tokens.

    Args:
        tasks: One for each language.
        teacher: Tokens of (at least) the candidates, and of the samples' English side.
        tokenizer: The student's.
        student: Its prefix and length limit.
        evaluation: What is subtracted before scoring, how many components are removed.
        samples: Training rows of the tasks' languages; None: language means and components are those of the queries themselves.
    """

    def __init__(
        self,
        tasks: Sequence[BitextTask],
        teacher: TeacherVectors,
        tokenizer: PreTrainedTokenizerBase,
        student: StudentConfig,
        evaluation: EvaluationConfig,
        samples: LanguageSamples | None = None,
    ) -> None:
        self.tasks = list(tasks)
        self._teacher, self._config, self._samples = teacher, evaluation, samples
        self._centre_D = torch.from_numpy(teacher.centre)
        self._tables = [tokenize(tokenizer, task.query_texts, student.max_tokens, student.prefix) for task in tasks]
        texts = () if samples is None else samples.texts
        self._sample_tables = [tokenize(tokenizer, text, student.max_tokens, student.prefix) for text in texts]
        english = {int(task.candidates[i]): task.candidate_texts[i] for task in tasks for i in task.gold}
        self._english_ids = sorted(english)[:DRIFT_SENTENCES]
        self._english = tokenize(tokenizer, [english[i] for i in self._english_ids], student.max_tokens, student.prefix)
        self._documents: dict[str, TokenClouds] = {}

    def clouds(self, student: Student, device: str = "cpu") -> list[TokenClouds]:
        """The student's query tokens, task by task."""
        return [encode_texts(student, table, device) for table in self._tables]

    def sample_clouds(self, student: Student, device: str = "cpu") -> list[TokenClouds] | None:
        """The student's tokens of the languages' samples, task by task; None where there are no samples."""
        return None if self._samples is None else [encode_texts(student, table, device) for table in self._sample_tables]

    def english_drift(self, student: Student, device: str = "cpu") -> float:
        """Mean cosine distance, 0 to 2, of the student's pooled English from the teacher's of the same sentences; both centred by the
        teacher's mean token. At most DRIFT_SENTENCES of the relevant sentences; NaN where no pair has tokens on both sides."""
        found_QD = encode_texts(student, self._english, device).centred(self._centre_D).pool()
        expected_QD = teacher_clouds(self._teacher, self._english_ids).centred(self._centre_D).pool()
        told_Q = (found_QD.square().sum(1) > 0) & (expected_QD.square().sum(1) > 0)
        return (1 - (found_QD * expected_QD).sum(1))[told_Q].mean().item()

    def documents(self, task: BitextTask) -> TokenClouds:
        """The candidates as the teacher encodes them, centred as configured and normalised; the same for every student, so kept."""
        if task.language not in self._documents:
            centre_D = None if self._config.centre == "none" else self._centre_D
            self._documents[task.language] = teacher_clouds(self._teacher, task.candidates).centred(centre_D)
        return self._documents[task.language]

    def _queries(self, cloud: TokenClouds, sample: TokenClouds) -> TokenClouds:
        """Centred as configured and normalised."""
        if self._config.centre == "language-mean":
            return remove_mean(cloud, sample.vectors_TD.mean(0)).centred(None)
        return cloud.centred(None if self._config.centre == "none" else self._centre_D)

    def success_at_1(self, clouds: Sequence[TokenClouds], scorer: Scorer, samples: Sequence[TokenClouds] | None = None) -> dict[str, float]:
        """Share of queries whose translation ranks first, by language. `samples` are read with `evaluation.centre=language-mean` alone."""
        found = {}
        for task, cloud, sample in zip(self.tasks, clouds, _samples_or_queries(samples, clouds), strict=True):
            scores_QC = torch.from_numpy(score_block(Seekers(self._queries(cloud, sample)), self.documents(task), [scorer])[scorer])
            found[task.language] = (rank_of_gold(scores_QC, torch.from_numpy(task.gold)) == 1).double().mean().item()
        return found

    def outcomes(self, clouds: Sequence[TokenClouds], samples: Sequence[TokenClouds] | None = None) -> pa.Table:
        """Per-query rows, all scorers, of the student and of the student with what tells its language apart removed (schema QUERIES).

        `student`: centred as `evaluation.centre` says.
        `mean-removed`: the queries lose the mean token of *these very test queries* (transductive: no label, but the test texts, were
        used), the candidates the mean token of the teacher's training English.
        `mean-removed-train`: likewise, but the queries lose the mean token of training rows of their language.
        `components-removed` (LIR): the queries lose the principal components of training rows of their language, the candidates those of
        the teacher's tokens of training English.
        A language without training rows (or every one, where there are no samples) takes the queries, and the candidates, themselves.

        Args:
            clouds: What `clouds` gave.
            samples: What `sample_clouds` gave.
        """
        tables = self._outcome_tables(clouds, _samples_or_queries(samples, clouds))
        return pa.concat_tables(tables, promote_options="none").cast(QUERIES)

    def _outcome_tables(self, clouds: Sequence[TokenClouds], samples: Sequence[TokenClouds]) -> Iterator[pa.Table]:
        count = self._config.components
        of_english_RD: Tensor | None = None
        if self._samples is not None and len(self._samples.english_ids):
            of_english_RD = principal_components(teacher_clouds(self._teacher, self._samples.english_ids).vectors_TD, count)
        for task, cloud, sample in zip(self.tasks, clouds, samples, strict=True):
            raw = teacher_clouds(self._teacher, task.candidates)
            centred = raw.centred(self._centre_D)
            components_RD = principal_components(raw.vectors_TD, count) if of_english_RD is None else of_english_RD
            systems = {
                "student": (self._queries(cloud, sample), self.documents(task)),
                "mean-removed": (remove_mean(cloud).centred(None), centred),
                "mean-removed-train": (remove_mean(cloud, sample.vectors_TD.mean(0)).centred(None), centred),
                "components-removed": (
                    remove_components(cloud, principal_components(sample.vectors_TD, count)).centred(None),
                    remove_components(raw, components_RD).centred(None),
                ),
            }
            for system, (queries, documents) in systems.items():
                for scorer, scores_QC in score_block(Seekers(queries), documents, SCORERS).items():
                    yield query_rows(task, torch.from_numpy(scores_QC), system, scorer)


def _samples_or_queries(samples: Sequence[TokenClouds] | None, clouds: Sequence[TokenClouds]) -> list[TokenClouds]:
    found = clouds if samples is None else samples
    return [sample if len(sample.vectors_TD) else cloud for sample, cloud in zip(found, clouds, strict=True)]


def collapse_statistics(clouds: Sequence[TokenClouds]) -> dict[str, float]:
    """How alike a model's raw tokens are, within a sentence and in all, by metric name."""
    joined = TokenClouds(torch.cat([cloud.vectors_TD for cloud in clouds]), torch.cat([cloud.lengths for cloud in clouds]))
    return {names.WITHIN_SENTENCE_COSINE: joined.within_cosine(), names.COMMON_SHARE: joined.common_share()}


def relevant_clouds(teacher: TeacherVectors, tasks: Sequence[BitextTask]) -> TokenClouds:
    """The teacher's tokens of the tasks' relevant sentences, each once: what a student's statistics are compared with."""
    return teacher_clouds(teacher, np.unique(np.concatenate([task.candidates[task.gold] for task in tasks])))
