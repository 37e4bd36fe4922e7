"""A sweep's progress: a table on a terminal, one line for each event in a log file."""

import dataclasses
import io

from rich.console import Console

from optical_ray.cli.progress import SweepView, draw_sweep
from optical_ray.orchestration.progress import SweepProgress, TrialProgress


def running(trial_id, step=0, objective=None):
    resources = {"workers": 1, "threads": 2, "gpus_per_worker": 0.0}
    return TrialProgress(trial_id, "grid", f"seed={trial_id}", step, 100, 0.5, objective, 65.0, 7.0, resources)


def progress(finished=0, failed=(), trials=(), pending=0, died=()):
    return SweepProgress(4, finished, tuple(failed), tuple(trials), pending, 100.0, 50.0, tuple(died))


def test_a_log_file_gets_a_line_for_each_event_and_no_other():
    stream = io.StringIO()
    with SweepView(Console(file=stream, width=200)) as view:
        for step in (0, 50, 90):
            view.show(progress(trials=[running("a", step), running("b", step)], pending=2))
        view.show(progress(1, [("b", "out of memory")], [running("c")], 1))
        view.show(progress(2, [("b", "out of memory")]))
    assert stream.getvalue().splitlines() == [
        "started   a grid: seed=a",
        "started   b grid: seed=b",
        "failed    b: out of memory",
        "ended     a grid: seed=a in 1:05; 1/4 finished, about 0:50 left",
        "started   c grid: seed=c",
        "ended     c grid: seed=c in 1:05; 2/4 finished, about 0:50 left",
    ]


def test_a_trial_that_died_has_not_ended_before_it_went_on_and_did():
    stream = io.StringIO()
    with SweepView(Console(file=stream, width=200)) as view:
        view.show(progress(trials=[running("a")]))
        view.show(progress(died=["a"]))
        view.show(progress(trials=[running("a")], died=["a"]))
        view.show(progress(1, died=["a"]))
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["started", "started", "ended"]


def test_the_line_of_a_trials_end_has_its_last_validation_and_not_the_one_that_was_seen_last():
    stream = io.StringIO()
    with SweepView(Console(file=stream, width=200)) as view:
        view.show(progress(trials=[running("a", 50, 0.06)]))
        view.show(dataclasses.replace(progress(1), ended={"a": running("a", 100, 0.17)}))
    assert stream.getvalue().splitlines()[-1] == "ended     a grid: seed=a in 1:05, valid 0.170; 1/4 finished, about 0:50 left"


def test_trials_that_come_and_go_between_two_looks_are_counted():
    stream = io.StringIO()
    with SweepView(Console(file=stream, width=200)) as view:
        view.show(progress(1))
        view.show(progress(3))
    assert stream.getvalue() == "3/4 finished, about 0:50 left\n"


def test_the_table_has_parameters_pace_and_resources():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(draw_sweep(progress(1, [("b", "x")], [running("a", 50, 0.25)], 1)))
    text = " ".join(console.export_text().split())
    assert "1/4 trials finished, 1 failed, 1 running, 1 waiting; 1:40 gone, about 0:50 left" in text
    for part in ("grid: seed=a", "50/100", "0.500", "0.250", "1:05", "0:07", "1 x 2 CPU"):
        assert part in text
