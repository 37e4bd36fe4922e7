import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch

from optical_ray.data.batches import ARRAY_TYPES, PairSource, RaggedBatch, UntaughtBatch, pad_tokens, pad_vectors, read_batches
from optical_ray.data.token_shards import TokenRules, TokenSource
from optical_ray.encoders.teacher import load_teacher
from optical_ray.encoders.tokenizer import TokenTable
from optical_ray.stages import prepare


@pytest.fixture(params=[None, 600], ids=["pairs", "tokens"])
def stages(world, request):
    """Batches by count, and by a token budget."""
    return prepare(world.recipe.override({"batch.tokens": request.param, "batch.length_window": 4, "student.max_tokens": 24}), world.store)


def equal(one, other):
    sides = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(first is second is None or torch.equal(first, second) for first, second in sides)


def planned(plan, source):
    """(language, row) of every global batch, from the plan alone."""
    for window in range(plan.windows):
        language, row = plan.draw(window)
        lengths = source._tokens(source._student).gather(language, row).tokens.lengths
        yield from ((language[places], row[places]) for places in plan.deal(window, lengths))


def test_a_batch_holds_the_rows_of_the_plan(world, stages):
    source = stages.source()
    batch, _ = next(read_batches(source, stages.plan))
    language, row = next(planned(stages.plan, source))
    assert len(row) == len(batch.english_B)
    tokenizer = stages.tokenizer()
    teacher = load_teacher(str(world.teacher), world.recipe.teacher)
    for pair in range(len(row)):
        table = stages.corpus.rows(stages.plan.languages[language[pair]], "train").slice(int(row[pair]), 1).to_pylist()[0]
        expected = tokenizer(table["text"])["input_ids"]
        assert batch.ids_BN[pair][batch.attention_BN[pair]].tolist() == expected
        assert batch.ids_BN[pair][batch.content_BN[pair]].tolist() == expected[1:-1]  # CLS and SEP carry no mass
        assert int(batch.english_B[pair]) == table["english_id"]
        ids = teacher.tokenizer(table["english"], return_tensors="pt")["input_ids"]
        states = teacher.encode(ids, torch.ones_like(ids))[0, 1:-1]
        torch.testing.assert_close(batch.teacher_BMD[pair][batch.teacher_mask_BM[pair]], states, atol=2e-3, rtol=2e-3)
    assert batch.teacher_BMD[~batch.teacher_mask_BM].abs().sum() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_hold_whole_groups_of_the_same_global_batches(stages, workers):
    source, group = stages.source(), stages.plan.batch.group
    parts = [list(read_batches(source, stages.plan, rank=rank, workers=workers)) for rank in range(workers)]
    whole = list(planned(stages.plan, source))
    assert {len(part) for part in parts} == {len(whole)}
    for step, (language, row) in enumerate(whole):
        own = [part[step][0] for part in parts]
        assert torch.cat([batch.english_B for batch in own]).tolist() == source.english_ids(language, row).tolist()
        assert torch.cat([batch.language_B for batch in own]).tolist() == language.tolist()
        assert all(len(batch.english_B) and len(batch.english_B) % group == 0 for batch in own)
        assert len({part[step][1] for part in parts}) == 1, "every worker stands at the same position"


def test_reading_goes_on_from_every_position(stages):
    whole = list(read_batches(stages.source(), stages.plan))
    seen = 0
    for step, (batch, after) in enumerate(whole):
        seen += len(batch.english_B)
        assert after.pairs == seen
        later = next(read_batches(stages.source(), stages.plan, after), None)
        if step + 1 < len(whole):
            assert equal(later[0], whole[step + 1][0])
            assert later[1] == whole[step + 1][1]
        else:
            assert later is None


def test_a_source_travels_as_plain_data(stages):
    source = stages.source()
    first, _ = next(read_batches(source, stages.plan))
    again, _ = next(read_batches(pickle.loads(pickle.dumps(source)), pickle.loads(pickle.dumps(stages.plan))))
    assert equal(first, again)


def test_batches_are_the_same_without_token_shards(world, stages):
    changes = {"batch.token_shards": False, "batch.tokens": stages.plan.batch.tokens, "batch.length_window": 4, "student.max_tokens": 24}
    on_the_fly = prepare(world.recipe.override(changes), world.store)
    assert on_the_fly.tokens.shards is None
    assert on_the_fly.describe() == stages.describe()
    pairs = zip(read_batches(stages.source(), stages.plan), read_batches(on_the_fly.source(), on_the_fly.plan), strict=True)
    assert all(equal(one, other) for (one, _), (other, _) in pairs)


def test_a_teacher_that_reads_on_the_worker_gives_the_batches_of_the_cache(world, stages):
    teacher = load_teacher(str(world.teacher), world.recipe.teacher)
    rules = TokenRules(stages.corpus.folder, "english", str(world.teacher), None, "", teacher.form.max_tokens)
    source = PairSource(stages.plan.languages, stages.tokens, TokenSource(rules, None))
    for (cached, _), (untaught, _) in zip(read_batches(stages.source(), stages.plan), read_batches(source, stages.plan), strict=True):
        assert isinstance(untaught, UntaughtBatch)
        taught = untaught.teach(teacher, "cpu")
        assert torch.equal(taught.teacher_mask_BM, cached.teacher_mask_BM)
        torch.testing.assert_close(taught.teacher_BMD, cached.teacher_BMD, atol=2e-3, rtol=2e-3)
        assert torch.equal(taught.ids_BN, cached.ids_BN)
        assert torch.equal(taught.english_B, cached.english_B)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_english_side_is_the_students_tokens_of_the_same_sentences(world, workers, cache):
    changes = {"objective.english": 0.5, "teacher.cache": cache, "batch.length_window": 4}
    stages, plain = (prepare(world.recipe.override(change), world.store) for change in (changes, changes | {"objective.english": 0.0}))
    tokenizer = stages.tokenizer()
    assert plain.student_english is None
    english = stages.corpus.english()["english"].to_pylist()
    for rank in range(workers):
        read = (read_batches(one.source(), one.plan, rank=rank, workers=workers) for one in (stages, plain))
        for (batch, _), (without, _) in zip(*read, strict=True):
            assert batch.english_ids_BK is not None
            assert without.english_ids_BK is None
            assert torch.equal(batch.ids_BN, without.ids_BN)
            for pair, sentence in enumerate(batch.english_B.tolist()):
                expected = tokenizer(english[sentence])["input_ids"]
                assert batch.english_ids_BK[pair][batch.english_attention_BK[pair]].tolist() == expected
                assert batch.english_ids_BK[pair][batch.english_content_BK[pair]].tolist() == expected[1:-1]
    if not cache:
        teacher = load_teacher(str(world.teacher), world.recipe.teacher)
        assert torch.equal(batch.teach(teacher, "cpu").english_ids_BK, batch.english_ids_BK)


def make_table(lengths):
    generator = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenTable(generator.integers(1, 99, offsets[-1]).astype(np.int32), generator.random(offsets[-1]) < 0.7, offsets)


@pytest.mark.parametrize("lengths", [(3, 1, 7), (2,), (4, 4), (0, 3)])
def test_padded_tokens_are_those_of_pair_by_pair_whatever_the_lengths(lengths):
    table = make_table(lengths)
    ids, attention, content = (torch.zeros(len(lengths), max(lengths), dtype=kind) for kind in (torch.int64, torch.bool, torch.bool))
    for pair, length in enumerate(lengths):
        span = slice(table.offsets[pair], table.offsets[pair + 1])
        ids[pair, :length] = torch.tensor(table.ids[span])
        attention[pair, :length] = True
        content[pair, :length] = torch.tensor(table.content[span])
    for found, expected in zip(pad_tokens(table), (ids, attention, content), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("lengths", [(0, 2, 5), (0,), (3, 3)])
def test_padded_vectors_are_those_of_pair_by_pair_whatever_the_lengths(lengths):
    vectors = np.random.default_rng(0).standard_normal((sum(lengths), 3)).astype(np.float16)
    padded, mask = torch.zeros(len(lengths), max(1, *lengths), 3), torch.zeros(len(lengths), max(1, *lengths), dtype=torch.bool)
    at = 0
    for pair, length in enumerate(lengths):
        padded[pair, :length] = torch.tensor(vectors[at : at + length].astype(np.float32))
        mask[pair, :length] = True
        at += length
    found, found_mask = pad_vectors(vectors, np.array(lengths, np.int64))
    assert torch.equal(found, padded)
    assert torch.equal(found_mask, mask)


@pytest.mark.parametrize("teacher", [None, make_table((2, 0, 6))])
@pytest.mark.parametrize("english", [None, make_table((4, 1, 2))])
def test_a_batch_survives_a_journey_as_bytes(teacher, english):
    ragged = RaggedBatch(np.array([0, 1, 1], np.int16), np.array([5, 4, 3], np.int32), make_table((3, 1, 7)), teacher, english)
    arrays = {name: np.frombuffer(array.tobytes(), ARRAY_TYPES[name]) for name, array in ragged.to_arrays().items()}
    again = RaggedBatch.from_arrays(arrays).to_arrays()
    assert again.keys() == ragged.to_arrays().keys()
    for name, array in ragged.to_arrays().items():
        np.testing.assert_array_equal(again[name], array)
