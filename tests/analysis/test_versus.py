"""Two systems on the same queries: numbers against a plain computation, what may not be compared, seeds apart from queries."""

import csv
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analysis.evaluations import random_ranks, rows, write_evaluation
from scipy import stats

from optical_ray.analysis.entries import open_entries
from optical_ray.analysis.load import load_run
from optical_ray.analysis.seeds import seed_interval
from optical_ray.analysis.versus import compare_entries
from optical_ray.cli import main
from optical_ray.errors import ConfigError, RunFolderError
from optical_ray.retrieval.intervals import QueryBootstrap, adjust_holm
from optical_ray.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)  # the handlers belong to pytest here


def compare(*paths, **settings):
    opening = {name: settings.pop(name) for name in ("split", "scorer") if name in settings}
    return compare_entries(open_entries([str(path) for path in paths], **opening), bootstrap=QueryBootstrap(500), **settings)


@pytest.fixture
def two(tmp_path):
    """Three languages; ha asks for what sw asks for."""
    a = [rows(random_ranks(seed, hit=0.7), query_language=tag, asks=range(60)) for seed, tag in enumerate(("ha", "sw", "yo"))]
    b = [rows(random_ranks(seed + 9, hit=0.4), query_language=tag, asks=range(60)) for seed, tag in enumerate(("ha", "sw", "yo"))]
    return write_evaluation(tmp_path / "a", *a), write_evaluation(tmp_path / "b", *b)


def test_means_and_differences_are_those_of_the_rows(two):
    found = compare(*two)
    for row in found.rows:
        if row.measure != "Success@1":
            continue
        means = []
        for path in two:
            table = pq.read_table(path / "queries.parquet").to_pandas()
            means.append(np.mean([(table[table.query_language == tag]["rank"] == 1).mean() for tag in row.languages]))
        assert (row.test.first.estimate, row.test.second.estimate) == pytest.approx(means)
        assert row.test.difference.estimate == pytest.approx(means[0] - means[1])
        assert (row.num_queries, row.num_sentences, row.dropped) == (60 * len(row.languages), 60, 0)
    languages = [row.languages for row in found.rows if row.measure == "AP"]
    assert languages == [("ha",), ("sw",), ("yo",), ("ha", "sw", "yo")]
    assert (found.seeds, found.notes) == ((), ())


def test_holm_corrects_means_and_languages_apart(two):
    found = compare(*two)
    for measure in ("Success@1", "nDCG@10"):
        own = [row for row in found.rows if row.measure == measure and not row.is_mean]
        expected = adjust_holm([row.test.p_randomisation for row in own])
        assert [row.p_randomisation_holm for row in own] == expected
        assert [row.p_bootstrap_holm for row in own] == adjust_holm([row.test.difference.p_value for row in own])
        (mean,) = [row for row in found.rows if row.measure == measure and row.is_mean]
        assert mean.p_randomisation_holm == mean.test.p_randomisation


def test_every_further_entry_is_another_comparison_that_holm_knows_of(two, tmp_path):
    third_rows = [rows(random_ranks(seed + 20), query_language=tag, asks=range(60)) for seed, tag in enumerate(("ha", "sw", "yo"))]
    third = write_evaluation(tmp_path / "d", *third_rows)
    found = compare(*two, third)
    means = [row for row in found.rows if row.is_mean and row.measure == "RR@10"]
    assert [(row.first, row.second) for row in means] == [("a", "b"), ("a", "d")]
    assert [row.p_randomisation_holm for row in means] == adjust_holm([row.test.p_randomisation for row in means])


def test_a_system_with_itself_differs_in_nothing(two):
    found = compare(two[0], two[0])
    assert {row.test.difference.estimate for row in found.rows} == {0.0}
    assert {row.test.p_randomisation for row in found.rows} == {1.0}
    assert {(row.first, row.second) for row in found.rows} == {(f"{two[0]} [1]", f"{two[0]} [2]")}


def test_the_order_of_rows_in_the_files_does_not_matter(two, tmp_path):
    table = pq.read_table(two[1] / "queries.parquet")
    turned = write_evaluation(tmp_path / "turned", table.take(np.random.default_rng(0).permutation(table.num_rows)))
    one, other = compare(*two), compare(two[0], turned)
    assert [row.test for row in one.rows] == [row.test for row in other.rows]


def test_a_task_with_two_directions_is_two_means(tmp_path):
    into = [rows(random_ranks(1), query_language=tag) for tag in ("ha", "sw")]
    out = [rows(random_ranks(2), query_language="en", document_language=tag) for tag in ("ha", "sw")]
    folders = [write_evaluation(tmp_path / name, *into, *out) for name in "ab"]
    found = compare(*folders, tasks=["tatoeba"])
    assert {(row.task, row.languages) for row in found.rows if row.is_mean} == {
        ("tatoeba", ("ha", "sw")),
        ("tatoeba from en", ("ha", "sw")),
    }


def test_a_task_that_only_one_has_is_left_out_and_said(tmp_path):
    a = write_evaluation(tmp_path / "a", rows(random_ranks(1)), rows(random_ranks(2), task="lareqa", document_language="mul"))
    b = write_evaluation(tmp_path / "b", rows(random_ranks(3)))
    found = compare(a, b)
    assert {row.task for row in found.rows} == {"tatoeba"}
    assert found.notes == ("lareqa: only a has it, so it is left out.",)
    with pytest.raises(ConfigError, match="b: no row of task lareqa; it has tatoeba"):
        compare(a, b, tasks=["lareqa"])
    c = write_evaluation(tmp_path / "c", rows(random_ranks(3), task="afriqa"))
    with pytest.raises(ConfigError, match="b has tatoeba, c has afriqa: no task in common"):
        compare(b, c)


def test_one_of_several_systems_and_scorers_is_chosen(tmp_path):
    tables = [rows(random_ranks(1)), rows(random_ranks(2), scorer="pooled"), rows(random_ranks(3), system="bm25", scorer="bm25")]
    folder = write_evaluation(tmp_path / "a", *tables)
    entries = open_entries([str(folder), f"{folder}:bm25", f"{folder}:student:pooled"])
    assert [(entry.label, entry.scorer) for entry in entries] == [
        ("a", "maxsim"), ("a:bm25", "bm25"), ("a:student:pooled", "pooled"),
    ]  # fmt: skip
    pooled = open_entries([str(folder), f"{folder}:bm25"], scorer="pooled")
    assert [entry.scorer for entry in pooled] == ["pooled", "bm25"]
    with pytest.raises(ConfigError, match="no system 'bm24'; it has bm25, student"):
        open_entries([f"{folder}:bm24"])
    with pytest.raises(ConfigError, match="student has no scorer 'dot'; it has maxsim, pooled"):
        open_entries([f"{folder}:student:dot"])
    with pytest.raises(ConfigError, match="student has no scorer 'dot'; it has maxsim, pooled"):
        open_entries([str(folder)], scorer="dot")
    encoder = write_evaluation(tmp_path / "c", rows(random_ranks(1), system="zero-shot"), rows(random_ranks(1), system="bm25"))
    assert [entry.label for entry in open_entries([str(encoder), f"{folder}:bm25"])] == ["c:zero-shot", "a:bm25"]
    others = write_evaluation(tmp_path / "b", rows(random_ranks(1), system="x"), rows(random_ranks(1), system="y"))
    with pytest.raises(ConfigError, match="several systems; it has x, y: choose one as PATH:SYSTEM"):
        open_entries([str(others)])


def test_different_queries_are_refused_with_what_is_common_and_compared_where_it_is_allowed(tmp_path):
    a = write_evaluation(tmp_path / "a", rows([1, 2, 1, 1]), rows([1, 1], query_language="ha"))
    b = write_evaluation(tmp_path / "b", rows([1, 1, 3, 1, 9], names=["q001", "q002", "q003", "q004", "q005"]))
    with pytest.raises(ConfigError) as refused:
        compare(a, b)
    assert str(refused.value) == (
        "a and b, tatoeba: different queries: 3 common, 3 only in a (ha q000, ha q001, sw q000); 2 only in b (sw q004, sw q005); evaluate "
        "both on the same queries, or compare on the common ones with --common"
    )
    found = compare(a, b, common=True)
    (row,) = [row for row in found.rows if row.measure == "Success@1"]
    assert (row.languages, row.num_queries, row.dropped) == (("sw",), 3, 5)
    assert (row.test.first.estimate, row.test.second.estimate) == pytest.approx((2 / 3, 2 / 3))
    assert found.notes == ("tatoeba: a and b are compared on 3 common queries; 5 queries left out.",)


def test_no_common_query_is_refused_also_where_common_ones_would_do(tmp_path):
    a = write_evaluation(tmp_path / "a", rows([1, 2]))
    b = write_evaluation(tmp_path / "b", rows([1, 2], names=["x", "y"]))
    with pytest.raises(ConfigError, match="a and b, tatoeba: no query in common"):
        compare(a, b, common=True)


def test_the_same_query_must_ask_for_the_same(tmp_path):
    a = write_evaluation(tmp_path / "a", rows([1, 2], asks=["e1", "e2"]))
    b = write_evaluation(tmp_path / "b", rows([1, 2], asks=["e1", "e3"]))
    with pytest.raises(RunFolderError, match=r"query q001 \(sw\) asks for e2 in one and for e3 in the other"):
        compare(a, b)


def test_other_candidates_are_said(tmp_path):
    a = write_evaluation(tmp_path / "a", rows([1, 2]))
    b = write_evaluation(tmp_path / "b", rows([1, 2], candidates=1000))
    (note,) = compare(a, b).notes
    assert note == (
        "tatoeba: a and b did not search among the same candidates (sw: a random order finds 0.001 or 0.01 at rank 1): part of the "
        "difference may be theirs."
    )
    others = write_evaluation(tmp_path / "c", rows([1, 2], among=2), rows([1, 2], query_language="ha", among=2))
    (note,) = compare(write_evaluation(tmp_path / "d", rows([1, 2]), rows([1, 2], query_language="ha")), others).notes
    assert "(ha; sw)" in note, "as many, but not the same"
    assert compare(a, write_evaluation(tmp_path / "e", rows([1, 2], among=None))).notes == (), "of earlier days: not known"


def test_equal_ids_of_other_data_are_no_pair(tmp_path):
    a = write_evaluation(tmp_path / "a", rows([1, 2], asked=[11, 12]))
    b = write_evaluation(tmp_path / "b", rows([1, 2], asked=[11, 13]))
    with pytest.raises(RunFolderError, match=r"query q001 \(sw\) has another text, or other judgements, in the other \(1 of 2 do\)"):
        compare(a, b)
    assert compare(a, write_evaluation(tmp_path / "c", rows([1, 2], asked=[11, None]))).rows, "of earlier days: ids must do"


def test_different_splits_are_refused_and_one_can_be_chosen(tmp_path):
    a = write_evaluation(tmp_path / "a", rows([1, 2], split="valid"), rows([2, 2], split="test"))
    b = write_evaluation(tmp_path / "b", rows([1, 1], split="valid"))
    c = write_evaluation(tmp_path / "c", rows([1, 1], split="test"))
    assert compare(a, b).rows[0].test.first.estimate == 0.5
    assert compare(a, c).rows[0].test.first.estimate == 0.0
    with pytest.raises(ConfigError, match=r"different splits: .*b has valid; .*c has test"):
        compare(b, c)
    with pytest.raises(ConfigError, match="split 'test' is not in all of them"):
        compare(a, b, split="test")


@pytest.mark.parametrize("measure", ["AP", "nDCG@10"])
def test_a_value_that_is_no_number_is_refused_by_name(tmp_path, measure):
    table = rows([1, 2, 3])
    broken = table.set_column(table.column_names.index(measure), table.field(measure), [np.array([1, np.nan, 1], np.float32)])
    a = write_evaluation(tmp_path / "a", broken)
    b = write_evaluation(tmp_path / "b", table)
    with pytest.raises(RunFolderError, match=rf"a: {measure} of query q001 \(tatoeba\) is not a number"):
        compare(a, b)


def test_a_measure_that_was_not_kept_is_left_out_or_refused_when_asked_for(tmp_path):
    table = rows([1, 2, 3])
    unknown = table.set_column(table.column_names.index("R@100"), table.field("R@100"), pa.chunked_array([[1.0, None, 1.0]], pa.float32()))
    a, b = write_evaluation(tmp_path / "a", unknown), write_evaluation(tmp_path / "b", table)
    assert "R@100" not in {row.measure for row in compare(a, b).rows}
    with pytest.raises(RunFolderError, match=r"a: R@100 of query q001 \(tatoeba\) is not kept"):
        compare(a, b, measures=["R@100"])


def test_an_unknown_measure_or_one_entry_alone_is_refused(two):
    with pytest.raises(ConfigError, match="measure 'accuracy': not stored"):
        compare(*two, measures=["accuracy"])
    with pytest.raises(ConfigError, match=r"one system \(a\) has nothing to be compared with"):
        compare(two[0])


def test_a_measure_that_is_asked_for_stands_beside_the_others(two):
    found = compare(*two, measures=["mrr@5", "Success@3"])
    assert found.asked == ("RR@5", "Success@3")
    assert {"RR@5", "Success@3", "AP"} <= {row.measure for row in found.rows}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), r"holds neither evaluation\.json .* nor recipe\.json .* nor sweep\.json"),
        (lambda path: (path.mkdir(), (path / "evaluation.json").write_text("{")), "cannot be read"),
        (lambda path: (path.mkdir(), (path / "evaluation.json").write_text("[]")), "expected a JSON object"),
        (lambda path: (path.mkdir(), (path / "evaluation.json").write_text('{"format_version": 9}')), "format version 9"),
        (lambda path: (path.mkdir(), (path / "evaluation.json").write_text("{}")), "no queries.parquet beside evaluation.json"),
        (lambda path: write_evaluation(path, rows([])), "queries.parquet has no row"),
    ],
)
def test_a_folder_that_is_no_evaluation_is_one_clear_line(tmp_path, prepare, message):
    prepare(tmp_path / "x")
    with pytest.raises(RunFolderError, match=message):
        open_entries([str(tmp_path / "x")])


@pytest.fixture(scope="module")
def seeded(tmp_path_factory, sweep_writer):
    """OT and contrastive with five seeds each, and the untrained control."""
    path = tmp_path_factory.mktemp("runs") / "seeded"
    settings = {
        "sizes": (2,),
        "arms": ("OT", "contrastive"),
        "seeds": (0, 1, 2, 3, 4),
        "searches": 0,
        "queries": 40,
        "languages": ("fr", "sw"),
    }
    return sweep_writer(path, **settings)


def trials_of(run, arm):
    return [run / "trials" / trial.trial_id for trial in load_run(run).trials if trial.arm == arm]


def test_a_run_is_its_settings_with_their_seeds_averaged(seeded):
    entries = open_entries([str(seeded)])
    assert [(entry.label, entry.scorer, len(entry.replicates)) for entry in entries] == [
        ("OT, k = 2 (5 seeds)", "pooled", 5),
        ("contrastive, k = 2 (5 seeds)", "pooled", 5),
        (f"untrained ({trials_of(seeded, 'none')[0].name})", "pooled", 1),
    ]
    assert [replicate.seed for replicate in entries[0].replicates] == [f"seed={seed} languages.seed=0" for seed in range(5)]


def test_seeds_are_averaged_query_by_query_and_shown_apart(seeded):
    found = compare(*trials_of(seeded, "contrastive"), *trials_of(seeded, "OT"))
    means = {}
    for arm in ("contrastive", "OT"):
        means[arm] = []
        for path in trials_of(seeded, arm):
            table = pq.read_table(path / "queries.parquet").to_pandas()
            own = table[(table.system == "student") & (table.scorer == "pooled")]
            means[arm].append((own["rank"] == 1).groupby(own.query_language).mean().mean())
    (row,) = [row for row in found.rows if row.is_mean and row.measure == "Success@1"]
    assert (row.first, row.second) == ("contrastive, k = 2 (5 seeds)", "OT, k = 2 (5 seeds)")
    assert row.test.first.estimate == pytest.approx(np.mean(means["contrastive"]))
    apart = {(seeds.first, seeds.second): seeds for seeds in found.seeds if seeds.measure == "Success@1"}
    assert sorted(apart[row.first, None].means) == pytest.approx(sorted(means["contrastive"]))
    paired = apart[row.first, row.second]
    by_seed = dict(zip(paired.seeds, paired.means, strict=True))
    for name, mean in zip(apart[row.second, None].seeds, apart[row.second, None].means, strict=True):
        place = apart[row.first, None].seeds.index(name)
        assert by_seed[name] == pytest.approx(apart[row.first, None].means[place] - mean)
    assert paired.interval is not None and paired.interval.estimate == pytest.approx(row.test.difference.estimate)


def test_under_five_seeds_there_are_points_and_no_interval(seeded):
    found = compare(*trials_of(seeded, "OT")[:3], *trials_of(seeded, "none"))
    assert {len(seeds.means) for seeds in found.seeds} == {3}
    assert {seeds.interval for seeds in found.seeds} == {None}
    assert {(seeds.first, seeds.second) for seeds in found.seeds} == {
        ("OT, k = 2 (3 seeds)", None), ("OT, k = 2 (3 seeds)", f"untrained ({trials_of(seeded, 'none')[0].name})"),
    }  # fmt: skip


def test_trials_that_differ_in_the_seed_alone_are_compared_when_there_is_nothing_else(seeded):
    first, second, *_ = trials_of(seeded, "OT")
    found = compare(first, second)
    assert {(row.first, row.second) for row in found.rows} == {(f"OT, k = 2 ({first.name})", f"OT, k = 2 ({second.name})")}


def test_a_system_beside_the_student_of_the_same_trial(seeded):
    first = trials_of(seeded, "OT")[0]
    found = compare(first, f"{first}:lexical")
    assert {row.second for row in found.rows} == {f"OT, k = 2 ({first.name}):lexical"}


def test_a_trial_that_has_not_finished_is_refused(tmp_path, sweep_writer):
    path = sweep_writer(tmp_path / "run", sizes=(1, 2), arms=("OT",), searches=0, queries=10, languages=("fr", "sw"), begun=2)
    running = next(trial for trial in RunFolder(path).trials() if trial.read_status().state == "running")
    with pytest.raises(RunFolderError, match="the trial is running; only a finished trial has rows that count"):
        open_entries([str(running.path)])


def test_of_a_search_only_the_trial_that_validation_chose_is_compared(planted_run):
    labels = [entry.label for entry in open_entries([str(planted_run)])]
    assert len(labels) == 9 + 1 + 1


def test_seeds_stand_below_the_table_and_in_the_csv(seeded, tmp_path, capsys):
    few = [*trials_of(seeded, "OT")[:3], *trials_of(seeded, "contrastive")]
    with pytest.raises(SystemExit) as stop:
        main(["compare", *map(str, few), "--resamples", "200", "--out", str(tmp_path / "seeds.csv")])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "Seeds, bitext, Success@1: OT, k = 2 (3 seeds): 0." in out and "(under 5 seeds: no interval)" in out
    assert "Seeds, bitext, Success@1: contrastive, k = 2 (5 seeds): 0." in out and "] over seeds" in out
    with (tmp_path / "seeds.csv").open(encoding="utf-8") as stream:
        found = [row for row in csv.DictReader(stream) if row["over"] != "queries" and row["measure"] == "AP"]
    assert [(row["first"], row["over"] == "seeds", bool(row["first_low"])) for row in found] == [
        *[("OT, k = 2 (3 seeds)", False, False)] * 3,
        ("OT, k = 2 (3 seeds)", True, False),
        *[("contrastive, k = 2 (5 seeds)", False, False)] * 5,
        ("contrastive, k = 2 (5 seeds)", True, True),
    ]


def test_the_interval_over_seeds_is_students_and_covers_where_a_bootstrap_would_not():
    values = [0.41, 0.44, 0.39, 0.47, 0.42]
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    found = seed_interval(values)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert seed_interval(values[:4]) is None
    generator, covered, covered_by_bootstrap = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        draw = generator.normal(size=5)
        interval = seed_interval(draw.tolist())
        covered += interval.low <= 0 <= interval.high
        low, high = np.quantile(draw[generator.integers(0, 5, size=(300, 5))].mean(1), [0.025, 0.975])
        covered_by_bootstrap += low <= 0 <= high
    assert 0.93 <= covered / 1000 <= 0.97
    assert covered_by_bootstrap / 1000 < 0.88


def test_settings_are_told_apart_by_what_differs_besides_arm_k_and_seed(tmp_path, make_recipe, trial_writer, qualities):
    run = RunFolder(tmp_path / "run")
    recipes = [make_recipe("OT", 2, seed=seed, transport__epsilon=epsilon) for epsilon in (0.1, 0.5) for seed in (0, 1)]
    ids = [trial_writer(run, recipe, qualities["planted"], queries=10, languages=("fr", "sw")) for recipe in recipes]
    entries = open_entries([str(run.trial(name).path) for name in ids])
    assert [entry.label for entry in entries] == ["OT, k = 2, epsilon 0.1 (2 seeds)", "OT, k = 2, epsilon 0.5 (2 seeds)"]
