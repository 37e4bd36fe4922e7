"""Metric names, in one place. `<family>/<measure>[/<group>]`; units in the comment where there is one."""

LOSS = "loss/total"
LOSS_TRANSPORT = "loss/transport"  # <T, C>, cosine distance, mean over solved pairs of the global batch
LOSS_CONTRASTIVE = "loss/contrastive"  # nats per pair

TRANSPORT_CONVERGED = "transport/converged"  # share of pairs that met the tolerance
TRANSPORT_ITERATIONS = "transport/iterations"  # median over solved pairs
TRANSPORT_ITERATIONS_MAX = "transport/iterations_max"
TRANSPORT_VIOLATION = "transport/violation"  # L1 probability mass, mean
TRANSPORT_ENTROPY = "transport/plan_entropy"  # normalised: 1 = the independent plan
TRANSPORT_COST_STD = "transport/cost_std"  # within a pair, cosine distance, mean over solved pairs
TRANSPORT_EMPTY = "transport/empty_pairs"  # count
TRANSPORT_SKIPPED = "transport/skipped_pairs"  # count of pairs with NaN or infinity (transport.on_nonfinite=skip)

WITHIN_SENTENCE_COSINE = "student/within_sentence_cosine"  # raw tokens, mean over validation sentences
COMMON_SHARE = "student/common_share"  # squared length of the mean unit token over validation sentences
GRAD_NORM = "train/grad_norm"
LEARNING_RATE = "train/learning_rate"  # of the body group
STEP_SECONDS = "train/step_seconds"  # mean since the last report
PAIRS_SEEN = "train/pairs_seen"

VALID_SUCCESS_AT_1 = "valid/Success@1"  # mean over the languages in training; primary scorer; what searches may see
VALID_SUCCESS_AT_1_UNSEEN = "valid/Success@1/unseen"

PLAN_UNIFORM = "plan_uniform"  # verdict: epsilon too large for the cost's spread
COLLAPSED = "collapsed"  # verdict: tokens of one sentence point the same way
