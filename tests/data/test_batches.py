import pickle

import numpy as np
import torch

from optical_ray.data.batches import collate, read_batches
from optical_ray.encoders.teacher import load_teacher
from optical_ray.trial import prepare


def test_a_batch_holds_the_rows_of_the_plan(world):
    stages = prepare(world.recipe, world.store)
    source = stages.source(world.recipe)
    batch = next(read_batches(source, stages.plan))
    _, language, row = stages.plan.rows()
    tokenizer = stages.tokenizer()
    english = stages.corpus.english()["english"].to_pylist()
    teacher = load_teacher(str(world.teacher), world.recipe.teacher)
    for pair in range(world.recipe.batch.pairs):
        table = stages.corpus.rows(stages.plan.languages[language[pair]], "train").slice(int(row[pair]), 1).to_pylist()[0]
        expected = tokenizer(table["text"])["input_ids"]
        assert batch.ids_BN[pair][batch.attention_BN[pair]].tolist() == expected
        assert batch.ids_BN[pair][batch.content_BN[pair]].tolist() == expected[1:-1]  # CLS and SEP carry no mass
        assert english[int(batch.english_B[pair])] == table["english"]
        ids = teacher.tokenizer(table["english"], return_tensors="pt")["input_ids"]
        states = teacher.encode(ids, torch.ones_like(ids))[0, 1:-1]
        torch.testing.assert_close(batch.teacher_BMD[pair][batch.teacher_mask_BM[pair]], states, atol=2e-3, rtol=2e-3)
    assert batch.teacher_BMD[~batch.teacher_mask_BM].abs().sum() == 0


def test_a_source_travels_as_plain_data(world):
    stages = prepare(world.recipe, world.store)
    source = stages.source(world.recipe)
    _, language, row = stages.plan.rows()
    first = source.gather(language[:5], row[:5])
    again = pickle.loads(pickle.dumps(source)).gather(language[:5], row[:5])
    assert {name: values.tolist() for name, values in first.items()} == {name: values.tolist() for name, values in again.items()}


def test_padding_is_masked_whatever_the_lengths():
    columns = {
        "student_ids": np.array([np.arange(n, dtype=np.int32).tobytes() for n in (3, 1)], object),
        "student_content": np.array([np.ones(n, np.bool_).tobytes() for n in (3, 1)], object),
        "teacher": np.array([np.ones((m, 2), np.float16).tobytes() for m in (0, 2)], object),
        "english_id": np.array([4, 5], np.int32),
        "language": np.array([0, 1], np.int16),
    }
    batch = collate(columns, 2)
    assert batch.attention_BN.tolist() == [[True, True, True], [True, False, False]]
    assert batch.teacher_mask_BM.tolist() == [[False, False], [True, True]]
    assert batch.english_B.tolist() == [4, 5]
