"""Two processes, a process group and no Ray: every term and the language means, against one process with the whole batches."""

import multiprocessing
import traceback

import pytest
import torch
from safetensors.torch import load_file

from optical_ray.artifacts import write_json
from optical_ray.distillation import distil_worker
from optical_ray.recipe import Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder, utc_now
from optical_ray.runs.schemas import TrialStatus
from optical_ray.training.checkpoint import CENTRES, latest_checkpoint
from optical_ray.training.parallel import Parallel
from optical_ray.trial import run_trial

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")
WORKERS = 2


def work(rank, rendezvous, recipe, store, path, failed):
    try:
        torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORKERS)
        folder = RunFolder(path).trial(recipe.trial_id)
        distil_worker(recipe, Resources(workers=WORKERS), store, folder, lambda step, metrics: None, Parallel(rank, WORKERS))
        torch.distributed.destroy_process_group()
    except BaseException:
        failed.put(traceback.format_exc())
        raise


def test_two_processes_train_the_student_of_one_with_every_term_and_the_means_of_languages(world, tmp_path):
    terms = {f"objective.{term}": 0.5 for term in names.LOSS_OF_TERM}
    changes = {"cost.centre": "language-mean", "batch.monolingual_share": 0.5, "training.max_steps": 6, "training.report_every": 1}
    recipe = world.recipe.override(terms | changes)
    alone, together = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "together")
    run_trial(recipe, Resources(), world.store, alone)
    folder = together.trial(recipe.trial_id)
    folder.path.mkdir(parents=True)
    write_json(folder.recipe, recipe.to_dict())
    folder.write_status(TrialStatus(trial_id=recipe.trial_id, state="running", max_steps=6, started_at=utc_now()))
    context = multiprocessing.get_context("spawn")
    failed = context.Queue()
    given = (tmp_path / "rendezvous", recipe, world.store, together.path, failed)
    workers = [context.Process(target=work, args=(rank, *given)) for rank in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed.empty(), failed.get()
    reports = [
        {(row.step, row.name): row.value for row in run.trial(recipe.trial_id).read_metrics() if row.name in names.LOSS_OF_TERM.values()}
        for run in (alone, together)
    ]
    assert len(reports[0]) == 6 * len(names.LOSS_OF_TERM)
    assert reports[1] == pytest.approx(reports[0], rel=1e-4)
    kept = [load_file(latest_checkpoint(run.trial(recipe.trial_id).checkpoint) / CENTRES) for run in (alone, together)]
    assert kept[0]["seen"].all()
    torch.testing.assert_close(kept[1]["mean"], kept[0]["mean"], atol=1e-4, rtol=1e-4)
