"""A teacher on two workers under Ray Train, fed by Ray Data, is the teacher of one."""

import functools
import json
import shutil

import pytest

from optical_ray.orchestration.train import run_workers
from optical_ray.recipe import Resources
from optical_ray.runs import names
from optical_ray.teaching.recipe import TeacherRecipe
from optical_ray.teaching.teach import prepare_teacher, teach
from optical_ray.teaching.worker import teach_worker


def reported(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {(row["step"], row["name"]): row["value"] for row in rows if row["name"] != names.STEP_SECONDS}


@pytest.mark.slow
def test_two_workers_train_the_teacher_of_one(world, tmp_path, cluster):
    rows = [{"query": f"the teacher reads {n}", "positive": f"two letters {n}", "negative": f"her hat {n}"} for n in range(60)]
    shutil.copytree(world.teacher, tmp_path / "init")
    config = json.loads((tmp_path / "init" / "config.json").read_text())
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # masks are drawn by each worker
    (tmp_path / "init" / "config.json").write_text(json.dumps(config | still))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch = {"batch.queries": 8, "batch.group": 4, "training.max_steps": 5, "training.report_every": 1, "training.validate_every": 5}
    data = {"data.sources": [str(tmp_path / "t.jsonl")], "model.init": str(tmp_path / "init"), "model.projection": 16}
    rates = {"training.learning_rate": 1e-3, "evaluation.valid_queries": 5, "model.document_tokens": 32}
    stages = prepare_teacher(TeacherRecipe().override(batch | data | rates), world.store)

    def on_ray(stages, resources, store, folder, report):
        run_workers(functools.partial(teach_worker, stages), resources, store, folder, report)

    heard = []
    teach(stages, Resources(), world.store, tmp_path / "alone")
    teach(stages, Resources(workers=2), world.store, tmp_path / "two", lambda step, metrics: heard.append(step), on_ray)
    expected, found = reported(tmp_path / "alone"), reported(tmp_path / "two")
    assert heard == list(range(6))
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
