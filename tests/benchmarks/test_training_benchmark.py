"""The benchmark of a training step: everyone has a row, the clocks change nothing, and what is compared is the same."""

import ast
import csv
import io
import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from conftest import LANGUAGES

from benchmarks.tables import to_csv
from benchmarks.training.__main__ import Section
from benchmarks.training.batches import choose, read_fixed, write_fixed
from benchmarks.training.contender import INSTALL, PEERS, Contender
from benchmarks.training.ours import run
from benchmarks.training.parts import PARTS
from benchmarks.training.peers.blocks import Blocks, Ended
from benchmarks.training.rows import COLUMNS, show, summarise
from benchmarks.training.sections import SAME_STATES, SECTIONS, Effort, Group, check_states, make_groups, measure
from benchmarks.training.world import Shape, build_world
from optical_ray.artifacts import Store
from optical_ray.data.batches import Batch, read_batches
from optical_ray.data.plan import Position
from optical_ray.distillation import distil_worker
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder, utc_now
from optical_ray.runs.schemas import TrialStatus
from optical_ray.training.parallel import Parallel

SHAPE = Shape(pairs=4, window=2, fixed=2, layers=1, width=32, vocabulary=300)
EFFORT = Effort(equal_blocks=2, blocks=2, short_blocks=2, short_steps=1, warm_up=1)


@pytest.fixture(scope="module")
def tiny(world, tmp_path_factory):
    """What the contenders train on, of the tests' own bitext."""
    folder = tmp_path_factory.mktemp("benchmark")
    return build_world(folder, folder / "store", SHAPE, None, world.bitext, LANGUAGES[:2])


@pytest.fixture(scope="module")
def groups(tiny):
    return {(group.section, group.name): group for group in make_groups(tiny, 1, EFFORT, SHAPE.fixed, SHAPE.window)}


class Scripted(Blocks):
    """Asks for blocks of its own, in this process."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.said = list(steps), []

    def _open(self):
        return None

    def _next(self):
        return self.steps.pop(0) if self.steps else None

    def _say(self, **facts):
        self.said.append(facts)


def test_everyone_has_a_row_and_who_is_not_installed_says_so(groups, tmp_path):
    assert {section for section, _ in groups} == set(SECTIONS)
    group = groups["equal", "one side read"]
    rows, said = measure(group, tmp_path / "nothing", tmp_path / "processes", lambda what: None)
    mine, other = rows
    assert mine.pairs == 2 * 2 * 4 and mine.time_over_first == mine.rest_over_first == 1.0
    assert mine.padded_tokens_per_pair >= mine.tokens_per_pair > 2
    assert 0 < mine.optimiser_ms < mine.step_ms and mine.start_seconds > 0
    assert other.note == INSTALL and other.step_ms is None
    assert [len(each["blocks"]) for each in said] == [2, 0]
    table = show(rows)
    assert "Sentence-Transformers" in table and INSTALL in table
    read = list(csv.DictReader(io.StringIO(to_csv(rows, COLUMNS))))
    assert tuple(read[0]) == COLUMNS and read[1]["step_ms"] == ""
    Section(rows, said, {}, "now").save(tmp_path / "section.json")
    assert Section.load(tmp_path / "section.json").rows == rows


def test_the_clocks_cover_a_step_and_change_no_loss(groups, tmp_path):
    (contender,) = groups["share", "of the encoder"].contenders
    job = contender.job | {"threads": 1, "workers": 1, "folder": str(tmp_path / "timed"), "warm_up": 1}
    job["recipe"]["training"] |= {"report_every": 1, "warmup_share": 0.0, "learning_rate": 1e-3}
    blocks = Scripted(1, 2)
    with pytest.raises(Ended):
        run(job, 0, blocks)
    ready, _, block = blocks.said
    assert ready["parameters"] > 0 and block["pairs"] == 2 * 4
    parts = [block[f"{part}_seconds"] for part in PARTS]
    assert all(part > 0 for part in parts) and 0.3 * block["seconds"] < sum(parts) < block["seconds"]
    timed = reports(TrialFolder(tmp_path / "timed"))
    assert len(timed) == 3 and len(set(timed)) == 3
    assert timed == plain_reports(job, tmp_path / "plain")


def plain_reports(job, path):
    """The product's own loop over the same batches, without clocks."""
    recipe = Recipe.parse(job["recipe"], "job")
    folder = TrialFolder(path)
    path.mkdir()
    folder.write_status(TrialStatus(trial_id=path.name, state="running", max_steps=3, started_at=utc_now()))

    def read(source, plan, start, rank, workers):
        yield next(read_batches(source, plan, Position(1)))  # the warm-up
        for number, item in enumerate(read_batches(source, plan, start)):
            if number == 2:
                raise Ended(0)
            yield item

    with pytest.raises(Ended):
        distil_worker(recipe, Resources(), Store(Path(job["store"])), folder, lambda step, metrics: None, Parallel(), read)
    return reports(folder)


def reports(folder):
    return [row.value for row in folder.read_metrics() if row.name == names.LOSS]


def test_the_given_batches_are_short_and_long_and_come_back_as_they_are(tmp_path):
    widths = [9, 3, 7, 5, 8, 4, 6, 2]
    batches = [make_batch(width) for width in widths]
    chosen = choose(batches, 2)
    assert [batch.ids_BN.shape[1] for batch in chosen] == [4, 8]
    write_fixed(tmp_path / "fixed.npz", chosen)
    for batch, found in zip(chosen, read_fixed(tmp_path / "fixed.npz"), strict=True):
        for field in fields(Batch):
            assert torch.equal(getattr(batch, field.name), getattr(found, field.name))


def make_batch(width):
    mask = torch.ones(2, width, dtype=torch.bool)
    side = torch.arange(2 * width).view(2, width), mask, mask
    return Batch(*side, torch.randn(2, width, 3), mask, torch.arange(2), torch.arange(2), *side)


def test_ratios_are_taken_block_by_block_where_blocks_hold_the_same_pairs():
    pair = Contender("ours", "", {}), Contender("theirs", "", {}, "pylate")
    group = Group("equal", "x", pair, 3, 2, 1, paired=True)
    ours = [{"seconds": each, "pairs": 8, "tokens": 80, "padded_tokens": 100, "optimiser_seconds": 1.0} for each in (2.0, 4.0, 10.0)]
    theirs = [block | {"seconds": seconds} for block, seconds in zip(ours, (4.0, 4.0, 30.0), strict=True)]
    told = {each.name: {"start_seconds": 1.0} for each in pair}
    given = told, {}, {"ours": ours, "theirs": theirs}
    _, row = summarise(group, *given)
    assert row.time_over_first == 2.0 and row.rest_over_first == 3.0 and row.step_ms == 2000.0
    _, row = summarise(replace(group, paired=False), *given)
    assert row.time_over_first == 38.0 / 16.0 and row.pairs_per_second == 24 / 38
    _, row = summarise(group, told, {"theirs": "fails: it died"}, {"ours": ours, "theirs": theirs[:1]})
    assert row.note == "fails: it died" and row.step_ms is None


def test_another_encoder_is_not_compared():
    notes = {}
    check_states({"ours": {"states": 0.5}, "same": {"states": 0.5 * (1 + SAME_STATES / 2)}, "other": {"states": 0.6}}, notes)
    assert list(notes) == ["other"] and "not the same encoder" in notes["other"]


def test_a_process_takes_steps_when_it_is_asked_to(tmp_path):
    """The standard library alone, as in the environments of the others."""
    code = (
        "from blocks import Blocks\nblocks = Blocks()\nprint('noise')\nwhile True:\n    blocks.before_step()\n    blocks.count(pairs=3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PEERS)!r})\n{code}"],
        input="2\n5\n",
        capture_output=True,
        text=True,
    )
    ready, *blocks = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and "noise" in done.stderr and set(ready) == {"ready"}
    assert [block["pairs"] for block in blocks] == [6, 15]


@pytest.mark.parametrize("path", sorted(PEERS.glob("*.py")), ids=lambda path: path.name)
def test_the_others_scripts_import_nothing_of_this_project(path):
    imports = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Import | ast.ImportFrom)]
    found = {alias.name for node in imports for alias in node.names} | {getattr(node, "module", None) or "" for node in imports}
    assert not {name for name in found if name.split(".")[0] in ("optical_ray", "benchmarks")}
