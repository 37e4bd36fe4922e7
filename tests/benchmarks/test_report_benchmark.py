"""The benchmark of a report: a generated run is a run, both contenders read the same rows, what is told follows from them."""

import json

from benchmarks.report.__main__ import describe, measure, write
from benchmarks.report.contender import CONTENDERS
from benchmarks.report.generate import POOL, SYSTEMS, generate
from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.load import load_run
from optical_ray.retrieval.intervals import QueryBootstrap


def test_a_generated_run_is_one_that_the_report_reads_whole(tmp_path):
    rows = generate(tmp_path / "run", trials=76, queries=2)
    run = load_run(tmp_path / "run")
    assert (len(run.trials), run.num_rows) == (76, rows) == (76, 76 * 2 * len(POOL) * len(SYSTEMS))
    assert not [problem for trial in run.trials for problem in trial.problems]
    analysis = analyse(run, QueryBootstrap(50))
    assert [(part.kind, len(part.trials)) for part in analysis.parts] == [("grid", 38), ("search", 38)]
    assert {cell.arm for cell in analysis.cells} == {"OT", "OT + contrastive", "contrastive"}


def test_both_contenders_read_the_same_rows_and_medians_are_told(tmp_path):
    generate(tmp_path / "run", trials=40, queries=1)
    rows = [{"trials": 40, "contender": name, "repeat": 0} | measure(name, tmp_path / "run", tmp_path / "out") for name in CONTENDERS]
    assert len({row["rows"] for row in rows}) == 1 and (tmp_path / "out" / "index.html").is_file()
    slow = [row | {"seconds": 30.0 if row["contender"] == "pandas" else 60.0} for row in rows]
    assert "optical report 60.0 s (2.0 times pandas)" in describe(slow, 40)[0]
    write(tmp_path, {"machine": "this"}, rows)
    assert json.loads((tmp_path / "report.json").read_text())["machine"] == "this"
    assert len((tmp_path / "report.csv").read_text().splitlines()) == 3
