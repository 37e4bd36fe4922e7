"""A student's outcomes on bitext tasks: encode the queries, look the candidates up in the teacher's tokens, score, rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from optical_ray.data.teacher_cache import TeacherVectors
from optical_ray.encoders.interaction import SCORERS, Scorer, TokenClouds, score
from optical_ray.encoders.student import Student, StudentConfig
from optical_ray.encoders.tokenizer import TokenTable, tokenize
from optical_ray.retrieval.measures import query_rows, rank_of_gold
from optical_ray.retrieval.references import remove_mean
from optical_ray.retrieval.tasks import BitextTask
from optical_ray.runs import names
from optical_ray.runs.schemas import QUERIES

BATCH_TOKENS = 8192  # of one forward pass, padding included


def encode_texts(student: Student, table: TokenTable, device: str = "cpu") -> TokenClouds:
    """The student's content tokens of tokenised texts, not normalised, on the CPU; length-sorted batches, no gradient, no dropout."""
    order = np.argsort(table.lengths, kind="stable")
    pieces: list[Tensor] = [torch.empty(0)] * len(table)
    was_training = student.training
    student.eval()
    done = 0
    with torch.inference_mode():
        while done < len(order):
            widest = int(table.lengths[order[min(done + BATCH_TOKENS // 8, len(order) - 1)]])
            chosen = order[done : done + max(1, BATCH_TOKENS // max(widest, 8))]
            width = int(table.lengths[chosen].max())
            ids_BN = torch.zeros(len(chosen), width, dtype=torch.int64)
            attention_BN = torch.zeros(len(chosen), width, dtype=torch.bool)
            for line, text in enumerate(chosen):
                ids_BN[line, : table.lengths[text]] = torch.from_numpy(
                    table.ids[table.offsets[text] : table.offsets[text + 1]].astype(np.int64)
                )
                attention_BN[line, : table.lengths[text]] = True
            states = student(ids_BN.to(device), attention_BN.to(device)).float().cpu()
            for line, text in enumerate(chosen):
                content = torch.from_numpy(table.content[table.offsets[text] : table.offsets[text + 1]])
                pieces[text] = states[line, : len(content)][content]
            done += len(chosen)
    student.train(was_training)
    return TokenClouds(torch.cat(pieces), torch.tensor([len(piece) for piece in pieces]))


def teacher_clouds(teacher: TeacherVectors, english_ids: Iterable[int]) -> TokenClouds:
    """The teacher's tokens of some English sentences."""
    vectors_TD, lengths = teacher.gather(np.fromiter(english_ids, np.int32))
    return TokenClouds(torch.from_numpy(vectors_TD).float(), torch.from_numpy(lengths))


class BitextEvaluator:
    """Tasks with everything that does not change from student to student: query token ids and the teacher's candidate tokens."""

    def __init__(
        self,
        tasks: Sequence[BitextTask],
        teacher: TeacherVectors,
        tokenizer: PreTrainedTokenizerBase,
        student: StudentConfig,
        centre_D: Tensor | None,
    ) -> None:
        self.tasks = list(tasks)
        self.centre_D = centre_D
        self._teacher = teacher
        self._tables = [tokenize(tokenizer, task.query_texts, student.max_tokens, student.prefix) for task in tasks]
        self._documents: dict[str, TokenClouds] = {}

    def clouds(self, student: Student, device: str = "cpu") -> list[TokenClouds]:
        """The student's query tokens, task by task."""
        return [encode_texts(student, table, device) for table in self._tables]

    def documents(self, task: BitextTask) -> TokenClouds:
        """The candidates as the teacher encodes them, centred and normalised; the same for every student, so kept."""
        if task.language not in self._documents:
            self._documents[task.language] = teacher_clouds(self._teacher, task.candidates).centred(self.centre_D)
        return self._documents[task.language]

    def success_at_1(self, clouds: Sequence[TokenClouds], scorer: Scorer) -> dict[str, float]:
        """Share of queries whose translation ranks first, by language."""
        found = {}
        for task, cloud in zip(self.tasks, clouds, strict=True):
            scores_QC = score(cloud.centred(self.centre_D), self.documents(task), [scorer])[scorer]
            found[task.language] = (rank_of_gold(scores_QC, torch.from_numpy(task.gold)) == 1).double().mean().item()
        return found

    def outcomes(self, clouds: Sequence[TokenClouds]) -> pa.Table:
        """Per-query rows of the student, and of the student with language means removed on both sides; all scorers.

        The queries lose the mean token of these very queries, the English side the mean token of the teacher's training English.
        """
        return pa.concat_tables(self._outcome_tables(clouds), promote_options="none").cast(QUERIES)

    def _outcome_tables(self, clouds: Sequence[TokenClouds]) -> Iterator[pa.Table]:
        english_D = torch.from_numpy(self._teacher.centre)
        for task, cloud in zip(self.tasks, clouds, strict=True):
            documents = self.documents(task)
            removed = documents if self.centre_D is not None else teacher_clouds(self._teacher, task.candidates).centred(english_D)
            for scorer, scores_QC in score(cloud.centred(self.centre_D), documents, SCORERS).items():
                yield query_rows(task, scores_QC, "student", scorer)
            for scorer, scores_QC in score(remove_mean(cloud).centred(None), removed, SCORERS).items():
                yield query_rows(task, scores_QC, "mean-removed", scorer)


def collapse_statistics(clouds: Sequence[TokenClouds]) -> dict[str, float]:
    """How alike a model's raw tokens are, within a sentence and in all, by metric name."""
    joined = TokenClouds(torch.cat([cloud.vectors_TD for cloud in clouds]), torch.cat([cloud.lengths for cloud in clouds]))
    return {names.WITHIN_SENTENCE_COSINE: joined.within_cosine(), names.COMMON_SHARE: joined.common_share()}


def relevant_clouds(teacher: TeacherVectors, tasks: Sequence[BitextTask]) -> TokenClouds:
    """The teacher's tokens of the tasks' relevant sentences, each once: what a student's statistics are compared with."""
    return teacher_clouds(teacher, np.unique(np.concatenate([task.candidates[task.gold] for task in tasks])))
