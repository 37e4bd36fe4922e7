"""The benchmark's own judgement: who is not accurate is not fast, and nobody is dropped."""

import csv
import json
import math
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.sinkhorn import memory
from benchmarks.sinkhorn.__main__ import write
from benchmarks.sinkhorn.contenders import OURS, Contender, Solved, Variant, contenders
from benchmarks.sinkhorn.gpu import measure_gpu
from benchmarks.sinkhorn.problems import ACCURACY, is_accurate, make_problem
from benchmarks.sinkhorn.rows import COLUMNS, Row, describe_machine
from benchmarks.sinkhorn.share import Step, measure_share
from benchmarks.sinkhorn.speed import Effort, measure_cell

EFFORT = Effort(repeats=2, solve_seconds=0.2, contender_seconds=0.01)
LENGTHS = [(5, 3), (2, 6), (4, 4)]  # padding on both sides


@pytest.fixture(scope="module")
def problem():
    return make_problem("ragged", "bert-like", LENGTHS, dimensions=8)


def silent(what):
    pass


def independent_plan(problem):
    """Meets every marginal, whatever the cost."""
    return problem.a_BN.double()[:, :, None] * problem.b_BM.double()[:, None, :]


def contender(name, change):
    """Hands back the independent plan after a change."""
    return Contender(name, lambda problem, *rest: Solved(change(independent_plan(problem))), (Variant(name),), stops=(ACCURACY,), start=0)


def test_violations_are_counted_in_rows_and_columns(problem):
    plan = independent_plan(problem)
    assert problem.worst_violation(plan) < 1e-6
    plan[1, 0, 0] += 0.25
    torch.testing.assert_close(problem.violations(plan)[1].item(), 0.5, atol=1e-6, rtol=0)
    plan[2, 3, 5] = 0.25  # at padding
    assert problem.violations(plan)[2] > 0.4
    plan[0, 0, 0] = torch.nan
    assert math.isnan(problem.worst_violation(plan)) and not is_accurate(math.nan)


def test_every_contender_has_a_row_that_is_accurate_or_says_why_not(problem):
    rows = measure_cell(problem, 0.2, contenders(), (1, 2), EFFORT, silent)
    assert {row.contender for row in rows} == {item.name for item in contenders()}
    for row in rows:
        if row.median_ms is None:
            assert row.failed or row.note == "not installed"
        else:
            assert row.worst_violation is not None and is_accurate(row.worst_violation)
            assert row.q1_ms <= row.median_ms <= row.q3_ms and row.repeats >= 1 and row.ratio_to_ours > 0
    assert [row.ratio_to_ours for row in rows if row.contender == OURS] == [1.0, 1.0]
    accurate = {row.contender for row in rows if row.median_ms is not None}
    assert {OURS, "optical_ray torch", "POT batch, log", "POT one by one"} <= accurate


def test_a_contender_that_misses_the_accuracy_fails_however_fast(problem):
    wrong = contender("wrong", lambda plan: plan * (1 + 2 * ACCURACY))
    broken = contender("broken", lambda plan: plan * torch.nan)
    right = contender("right", lambda plan: plan)
    rows = {row.contender: row for row in measure_cell(problem, 0.2, [right, wrong, broken], (1,), EFFORT, silent)}
    assert rows["right"].median_ms is not None and not rows["right"].failed
    assert rows["wrong"].median_ms is None and rows["wrong"].note.startswith("fails: 4.0e-04")
    assert rows["broken"].median_ms is None and rows["broken"].note.startswith("fails: 3 of 3 pairs not finite")


def test_a_contender_that_fails_only_when_timed_fails(problem):
    calls = []

    def solve(problem, *rest):
        calls.append(rest)
        return Solved(independent_plan(problem) * (1.0 if len(calls) < 2 else 2.0))

    late = Contender("late", solve, (Variant("late"),), stops=(ACCURACY,), start=0)
    (row,) = measure_cell(problem, 0.2, [late], (1,), EFFORT, silent)
    assert row.failed and row.median_ms is None and row.worst_violation > 1


def test_the_loosest_accurate_stop_is_chosen(problem):
    """A solver that misses by twice its own tolerance."""
    solver = Contender(
        "honest", lambda problem, epsilon, variant, stop, cap: Solved(independent_plan(problem) * (1 + stop)), (Variant("x"),)
    )
    (row,) = measure_cell(problem, 0.2, [solver], (1,), EFFORT, silent)
    assert row.note.startswith("x, float32, whole batch, stop 3e-05")


def test_files_hold_every_row_and_no_host(problem, tmp_path):
    row = Row("speed", "ragged", "bert-like", 0.2, OURS, 1, 1.0, 0.9, 1.1, 9, 1.0, 5e-5)
    rows = [row, replace(row, epsilon=0.1), replace(row, contender="POT batch, log", ratio_to_ours=40.0)]
    rows.append(replace(row, epsilon=0.1, contender="POT batch, log", median_ms=None, ratio_to_ours=None, note="fails: NaN"))
    write(rows, {"command": "python -m benchmarks.sinkhorn", **describe_machine()}, 10.0, tmp_path)
    with (tmp_path / "sinkhorn.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 4 and tuple(read[0]) == COLUMNS and read[3]["note"] == "fails: NaN" and read[3]["median_ms"] == ""
    about = json.loads((tmp_path / "sinkhorn.json").read_text(encoding="utf-8"))
    assert about["cpu"] and about["versions"]["torch"] and sys.prefix not in str(about)
    svg = (tmp_path / "sinkhorn.svg").read_text(encoding="utf-8")
    assert "<text" in svg and "POT batch, log" in svg and "dc:date" not in svg
    assert (tmp_path / "sinkhorn.png").read_bytes()[:4] == b"\x89PNG"


def test_the_share_of_a_step_is_a_percentage_of_the_encoder():
    encoder, *losses = measure_share(Step(layers=1, batch=2, tokens=6), [1], 1, silent)
    assert encoder.median_ms > 0 and encoder.share_percent is None
    for row in losses:
        assert row.share_percent == pytest.approx(100 * row.median_ms / encoder.median_ms)


def test_what_a_gpu_contender_raises_becomes_its_row():
    rows = measure_gpu(2, 4, 1, silent, device="cpu", epsilons=(0.2,))
    assert len(rows) == 8
    assert all(row.failed or is_accurate(row.worst_violation) for row in rows)
    assert not any(row.failed for row in rows if row.contender == "optical_ray torch")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_a_solve_is_measured_in_fresh_processes(monkeypatch):
    monkeypatch.setattr(memory, "METHODS", {"POT batch, log": "log_sinkhorn"})
    solve, backward = memory.measure_memory(64, processes=2)
    assert not solve.failed and not backward.failed
    assert backward.peak_matrices > 3 * solve.peak_matrices > 3  # a graph through the loop
