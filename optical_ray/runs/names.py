"""Metric names, in one place. `<family>/<measure>[/<group>]`; units in the comment where there is one."""

from __future__ import annotations

from collections.abc import Mapping

LOSS = "loss/total"
LOSS_TRANSPORT = "loss/transport"  # <T, C>, cosine distance, mean over solved pairs of the global batch
LOSS_GREEDY = "loss/greedy"  # squared distance of matched unit tokens, 0 to 4, mean over a pair's matches, then over pairs
LOSS_ARGMAX = "loss/argmax"  # cosine distance of each student token to its nearest teacher token, mean over tokens, then over pairs
LOSS_POOLED_MSE = "loss/pooled_mse"  # squared distance of unit mean tokens, 0 to 4, mean over pairs
LOSS_CONTRASTIVE = "loss/contrastive"  # nats per pair
LOSS_SCORE_KL = "loss/score_kl"  # nats per pair
LOSS_ENGLISH = "loss/english"  # of the English side, in the unit of what `objective.english_by` names

LOSS_MASKED_LM = "loss/masked_lm"  # of pre-training: nats per token to be guessed, mean over those of the global batch
MASKED_TOKENS = "train/masked_tokens"  # of the global batch that are to be guessed

LOSS_OF_TERM = {
    "transport": LOSS_TRANSPORT,
    "greedy": LOSS_GREEDY,
    "argmax": LOSS_ARGMAX,
    "pooled_mse": LOSS_POOLED_MSE,
    "contrastive": LOSS_CONTRASTIVE,
    "score_kl": LOSS_SCORE_KL,
    "english": LOSS_ENGLISH,
}
"""Metric of each term of the objective, by the term's weight in `ObjectiveConfig`."""
LABEL_OF_TERM = {"transport": "OT", "pooled_mse": "pooled MSE", "score_kl": "score KL", "english": "English"}
"""What tables and figures call a term, where that is not its field's own name."""

TRANSPORT_CONVERGED = "transport/converged"  # share of pairs that met the tolerance
TRANSPORT_ITERATIONS = "transport/iterations"  # median over solved pairs
TRANSPORT_ITERATIONS_MAX = "transport/iterations_max"
TRANSPORT_VIOLATION = "transport/violation"  # L1 probability mass, mean
TRANSPORT_ENTROPY = "transport/plan_entropy"  # normalised: 1 = the independent plan
TRANSPORT_COST_STD = "transport/cost_std"  # within a pair, cosine distance, mean over solved pairs
TRANSPORT_EMPTY = "transport/empty_pairs"  # count
TRANSPORT_SKIPPED = "transport/skipped_pairs"  # count of pairs with NaN or infinity (transport.on_nonfinite=skip)

# Both of the raw tokens; with `cost.centre=language-mean`, less the mean of their language.
WITHIN_SENTENCE_COSINE = "student/within_sentence_cosine"  # mean over validation sentences
COMMON_SHARE = "student/common_share"  # squared length of the mean unit token over validation sentences
ENGLISH_DRIFT = "student/english_drift"  # cosine distance of pooled English, student's from teacher's, mean over validation sentences
GRAD_NORM = "train/grad_norm"
LEARNING_RATE = "train/learning_rate"  # of the body group
STEP_SECONDS = "train/step_seconds"  # mean since the last report
PAIRS_SEEN = "train/pairs_seen"
SKIPPED_STEPS = "train/skipped_steps"  # count so far; reported where training.skip_nonfinite allows any

VALID_SUCCESS_AT_1 = "valid/Success@1"  # mean over the languages in training; primary scorer; what searches may see
VALID_MRR_AT_10 = "valid/MRR@10"  # this and the next of a teacher in training
VALID_NDCG_AT_10 = "valid/nDCG@10"
VALID_SUCCESS_AT_1_UNSEEN = "valid/Success@1/unseen"


def valid_success_at_1(tag: str) -> str:
    """`valid/Success@1/sw`: of one evaluation language, in training or not; what objectives over named languages are made of."""
    return f"{VALID_SUCCESS_AT_1}/{tag}"


VALID_MASKED_LM = "valid/masked_lm"  # of pre-training: nats per masked token, mean over the languages in it; lower is better
VALID_MASKED_LM_UNSEEN = "valid/masked_lm/unseen"  # over the other languages of its pool


def valid_masked_lm(tag: str) -> str:
    """`valid/masked_lm/sw`: of one language."""
    return f"{VALID_MASKED_LM}/{tag}"


PLAN_UNIFORM = "plan_uniform"  # verdict: epsilon too large for the cost's spread
BELOW_FLOOR = "below_floor"  # verdict on a teacher: it was not shown to beat TF-IDF on its own validation queries
ABOVE_FLOOR = "above_floor"
UNDECIDED = "undecided"  # likewise: too few validation queries to say
COLLAPSED = "collapsed"  # verdict: tokens of one sentence point the same way


def name_arm(weights: Mapping[str, float | None]) -> str:
    """What tables and figures call the terms whose weight is above 0: `OT + contrastive`; `none` where there is none.

    Args:
        weights: By term; terms that are not of LOSS_OF_TERM are ignored.
    """
    return " + ".join(LABEL_OF_TERM.get(term, term) for term in LOSS_OF_TERM if weights.get(term)) or "none"
