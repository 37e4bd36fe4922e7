"""The report on disk: whole, self-contained, escaped, the same twice; the terminal table beside it."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.answer import caveats
from optical_ray.analysis.design import shows_test, spread_trials
from optical_ray.analysis.figures import draw_k, draw_languages, draw_search, draw_training
from optical_ray.analysis.load import load_run
from optical_ray.analysis.markdown import escape
from optical_ray.analysis.page import build_page
from optical_ray.analysis.report import escape_csv, write_report
from optical_ray.analysis.style import CSS_NAMES, HoverPoint, hover, new_axes, save, style
from optical_ray.analysis.summary import SMALLEST, SUMMARY, summary_rows
from optical_ray.analysis.table import render_table
from optical_ray.errors import RunFolderError
from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.query_rows import ROWS

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting, and collects links, ids and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.links, self.ids, self.words, self.external = [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(values["href"])
        self.ids += [values["id"]] if "id" in values else []
        self.external += [values[name] for name in ("src", "data") if values.get(name)]

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def planted_report(planted_analysis, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert write_report(planted_analysis, out) == out / "index.html"
    return out


def rendered(analysis, width=110):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(render_table(analysis))
    return console.export_text()


def test_the_page_holds_answer_expectation_tables_figures_methods_and_provenance(planted_report):
    page = Page((planted_report / "index.html").read_text(encoding="utf-8"))
    for words in (
        "Do more bitext languages make a better student?", "is above the TF-IDF floor", "falls as k grows at a fixed number of steps",
        "One training seed per setting", "percentile bootstrap (2,000 resamples", "2,400 queries on 300 English sentences",
        "queries that ask for the same English sentence are resampled together", "on 300 sentences",
        "0123456789abcdef0123456789abcdef01234567",
        "torch 2.13.0",
        'pandas.read_parquet("summary.parquet")', "chance is 0.003",
        "Pairs of fr drawn in training: 19,200 at k = 1, 4,800 at k = 4 and 1,200 at k = 16",
    ):  # fmt: skip
        assert words in page.text
    assert len(page.ids) == len(set(page.ids))  # inline figures share no ids
    assert page.text.index("is above the TF-IDF floor") < page.text.index("What was expected")


def test_every_link_of_the_page_leads_to_a_file_beside_it_and_nothing_comes_from_elsewhere(planted_report):
    html = (planted_report / "index.html").read_text(encoding="utf-8")
    page = Page(html)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside and inside <= set(page.ids)
    assert all((planted_report / link).is_file() for link in page.links if not link.startswith("#"))
    assert page.external == []
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert len(html) < 5 * 2**20


def test_rows_hold_every_query_of_every_finished_trial_and_what_the_trial_was(planted_report, planted_analysis):
    rows = pq.read_table(planted_report / "rows.parquet")
    assert rows.num_rows == planted_analysis.run.num_rows
    assert set(ROWS.names) < set(rows.column_names)
    chosen = {part.name: part.best for part in planted_analysis.parts if part.kind == "search"}["search"]
    hidden = {row["trial_id"] for row in rows.select(["trial_id", "shows_test"]).to_pylist() if not row["shows_test"]}
    searched = {trial.trial_id for part in planted_analysis.parts if part.kind == "search" for trial in part.trials}
    assert hidden == searched - {chosen.trial_id}
    row = rows.filter((pc.field("arm") == "OT") & (pc.field("k") == 4) & (pc.field("query_language") == "hi")).slice(0, 1).to_pylist()[0]
    assert (row["in_training"], row["training_rows"], row["part"]) == (True, 1200, "arms")


def test_the_appendix_holds_the_answer_the_tables_and_the_figures(planted_report):
    text = (planted_report / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Do more bitext languages make a better student?\n")
    assert "is above the TF-IDF floor" in text
    images = re.findall(r"\]\(([a-z0-9-]+\.png)\)", text)
    assert len(images) >= 8 and all((planted_report / image).is_file() for image in images)
    head = next(line for line in text.splitlines() if line.startswith("| trial |"))
    assert all(line.count("|") - line.count("\\|") == head.count("|") for line in text.split(head)[1].splitlines()[1:14])


def test_markdown_takes_no_orders_from_names():
    assert escape("a|b <script> [x](y) `c` $d") == r"a\|b \<script\> \[x\](y) \`c\` \$d"
    assert "\n" not in escape("two\nlines")


def test_every_trial_that_shows_its_test_score_has_a_section(planted_report, planted_analysis):
    page = Page((planted_report / "index.html").read_text(encoding="utf-8"))
    shown = {trial.trial_id for part in planted_analysis.parts for trial in part.trials if shows_test(part, trial)}
    assert {name.removeprefix("trial-") for name in page.ids if name.startswith("trial-")} == shown
    assert f"optical train --from {planted_analysis.run.path.name}/{min(shown)}" in page.text


def test_points_show_their_values_and_lead_to_their_trials(planted_report, planted_analysis):
    html = (planted_report / "index.html").read_text(encoding="utf-8")
    figures = html[: html.index("<h2>Trials</h2>")]
    trial = next(trial for trial in planted_analysis.run.trials if (trial.arm, trial.k) == ("OT", 16))
    curve = f"<g><title>{trial.trial_id} (OT, k = 16)</title>"
    assert curve in html and f'<a href="#trial-{trial.trial_id}" tabindex="-1">' in html.split(curve)[1][:200]
    point = next(point for point in planted_analysis.curves if (point.series, point.k, point.group) == ("contrastive", 4, SMALLEST))
    assert f"<title>contrastive, k = 4: {point.interval.estimate:.3f} [" in figures
    assert "<a " not in (planted_report / "loss-transport.svg").read_text(), "alone, a picture has no section to lead to"
    assert "<title>" in (planted_report / "loss-transport.svg").read_text()


def test_a_text_over_a_point_may_hold_anything():
    with style():
        figure, axes = new_axes()
        hover(axes, [HoverPoint(1.0, 2.0, 'a "quoted" <i> & more', "abc")])
        panel = save(figure, "name", "title", "alt")
    assert '<g><title>a "quoted" &lt;i&gt; &amp; more</title>' in panel.inline and "hover-" not in panel.svg
    assert '<a href="#trial-abc" tabindex="-1">' in panel.inline and "<a " not in panel.standalone


def test_trials_in_trouble_are_counted_beyond_the_first(tmp_path, sweep_writer, quick_analysis, monkeypatch):
    monkeypatch.setattr("optical_ray.analysis.answer.MOST_NAMED", 1)
    path = sweep_writer(tmp_path / "run", sizes=(1, 2), arms=("OT",), searches=0, queries=20, languages=("fr", "sw"))
    for trial in RunFolder(path).trials():
        trial.plan.write_text("{")
        trial.metrics.write_text("{}\n")
    notes = caveats(quick_analysis(path))
    assert sum("plan.json: cannot be read" in note and "; metrics.jsonl: cannot be read" in note for note in notes) == 1
    assert "And 2 further trials with files that have problems: see trials.csv." in notes


def test_a_run_of_more_trials_than_a_page_can_show_shows_the_best(planted_run, monkeypatch, tmp_path):
    monkeypatch.setattr("optical_ray.analysis.page.MOST_TRIALS", 5)
    monkeypatch.setattr("optical_ray.analysis.design.MOST_SECTIONS", 3)
    monkeypatch.setattr("optical_ray.analysis.design.MOST_CURVES", 4)
    monkeypatch.setattr("optical_ray.analysis.summary.MOST_BOOTSTRAPPED", 5)
    analysis = analyse(load_run(planted_run), QueryBootstrap(50))
    page = build_page(analysis, {})
    table = page.tables["trials"]
    assert (len(table.rows), len(table.shown), len(page.sections)) == (14, 5, 3)
    assert "Shown: the 5 best of 14 trials by validation" in table.caption
    best = sorted((trial.objective for trial in analysis.run.trials if trial.objective is not None), reverse=True)[:5]
    assert {float(row[table.columns.index("valid")].sort) for row in table.shown} == set(best)
    assert any("linear intervals instead, since there are more than" in method for method in page.methods)
    assert len(spread_trials(analysis.run.trials, 4)) == 4
    write_report(analysis, tmp_path)
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 15


def test_the_files_are_what_their_names_say(planted_report, planted_analysis):
    assert pq.read_schema(planted_report / "summary.parquet") == SUMMARY
    for name in ("summary", "comparisons", "curves", "languages", "metrics", "trials", "scorers"):
        with (planted_report / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
            header, *rows = list(csv.reader(stream))
        assert rows and all(len(row) == len(header) for row in rows)
    stems = {path.stem for path in planted_report.glob("*.svg")}
    assert stems == {path.stem for path in planted_report.glob("*.png")}
    assert {"k-smallest", "k-in-training", "k-unseen", "languages", "loss-transport", "plan-entropy", "search-transport-epsilon"} <= stems
    assert not [path for path in planted_report.iterdir() if path.name.startswith(".")]


def test_the_same_run_gives_the_same_bytes(planted_analysis, planted_report, tmp_path):
    write_report(planted_analysis, tmp_path)
    for path in planted_report.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_figure_keeps_its_colours_on_disk_and_takes_the_pages_inline(planted_analysis):
    for panel in (
        *draw_k(planted_analysis),
        *draw_languages(planted_analysis),
        *draw_training(planted_analysis),
        *draw_search(planted_analysis),
    ):
        assert "var(--" not in panel.svg and "#1a1a1b" in panel.svg
        assert "var(--ink)" in panel.inline and not any(colour in panel.inline for colour in CSS_NAMES)
        assert panel.inline.startswith("<svg") and "<!--" not in panel.inline
        assert panel.png[:4] == b"\x89PNG" and panel.alt


def test_of_a_search_only_the_trial_chosen_on_validation_shows_its_test_score(planted_report, planted_analysis):
    search = next(part for part in planted_analysis.parts if part.kind == "search")
    best = max(search.trials, key=lambda trial: trial.status.objective)
    with (planted_report / "trials.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["trial"]: row for row in csv.DictReader(stream)}
    shown = {trial.trial_id for trial in search.trials if rows[trial.trial_id]["in training"]}
    assert shown == {best.trial_id}
    lines = rendered(planted_analysis).splitlines()
    with_scores = [
        trial for trial in search.trials if any(trial.trial_id[:8] in line and "[" in line for line in lines if "+" in line[:30])
    ]
    assert with_scores == [best]


def test_names_with_html_are_escaped_and_cells_that_a_spreadsheet_would_run_are_defused(tmp_path, sweep_writer, quick_analysis):
    evil, formula = "<script>alert(1)</script>", "=HYPERLINK(1)"
    languages = ("fr", "s--><b>w</b>", "@x$a_b$")
    path = sweep_writer(
        tmp_path / "run", sizes=(1, 3), arms=("OT",), searches=1, queries=15, languages=languages, name=evil, question=f"<b>{evil}</b>"
    )
    values = json.loads((path / "sweep.json").read_text(encoding="utf-8"))
    values["parts"][0]["name"], values["provenance"]["command"] = formula, ["optical", "</section><img src=x>"]
    (path / "sweep.json").write_text(json.dumps(values), encoding="utf-8")
    analysis = quick_analysis(path)
    page = write_report(analysis)
    html = page.read_text(encoding="utf-8")
    assert evil not in html and "<b>" not in html and "<img" not in html and "</section><" not in html
    assert evil in Page(html).text
    for table in page.parent.glob("*.csv"):
        with table.open(encoding="utf-8", newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "-")) and not re.fullmatch(r"-?\d.*", cell)]
    assert formula in rendered(analysis) and "[b]" not in rendered(analysis)


def test_escaping_leaves_numbers_alone():
    assert [escape_csv(value) for value in ("=1+1", "-x", "\tx", "fr", -0.5, None)] == ["'=1+1", "'-x", "'\tx", "fr", -0.5, None]


@pytest.mark.parametrize("begun", [0, 1, 3, 12])
def test_a_running_sweep_has_a_report_and_a_table(tmp_path, sweep_writer, quick_analysis, begun):
    path = sweep_writer(tmp_path / "run", begun=begun, queries=20)
    analysis = quick_analysis(path)
    page = Page(write_report(analysis).read_text(encoding="utf-8"))
    finished = max(0, begun - 1)
    assert f"{finished} of 14 trials finished" in page.text
    assert ("Nothing can be said so far" in page.text) == (finished == 0)
    assert f"{finished} of 14 trials finished" in rendered(analysis)


def test_broken_trials_are_named_on_the_page(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", sizes=(1, 2), arms=("OT",), searches=0, queries=20, languages=("fr", "sw"))
    folders = sorted((path / "trials").iterdir())
    for folder in folders:
        (folder / "recipe.json").write_text("{", encoding="utf-8")
    page = Page(write_report(quick_analysis(path)).read_text(encoding="utf-8"))
    assert all(f"Trial {folder.name}: recipe.json: cannot be read" in page.text for folder in folders)
    assert "untrained student" not in page.text.split("Methods")[0]  # an unreadable recipe does not pass for the control


def test_a_sweep_with_only_a_search_has_its_panels(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", sizes=(4,), arms=(), searches=3, queries=20)
    analysis = quick_analysis(path)
    assert [panel.name for panel in draw_search(analysis)] == [
        f"search-{name}" for name in ("transport-epsilon", "mixing-temperature", "objective-temperature")
    ]
    assert draw_k(analysis) == [] and draw_training(analysis)
    assert "search: 3 trials" in rendered(analysis)


def test_the_table_shows_floors_verdicts_and_failures(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", queries=40, searches=2, failed=("contrastive", 4), verdicts={("OT", 4): ["collapsed"]})
    text = rendered(quick_analysis(path))
    for words in (
        "TF-IDF",
        "untrained",
        "random (closed form)",
        "collapsed",
        "failed",
        "smallest set: fr",
        "paired differences, Success@1",
    ):
        assert words in text


def test_a_sweep_in_which_every_query_misses_is_still_drawn(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", lambda *_: 0.0, sizes=(1, 2), arms=("OT",), searches=0, queries=20, languages=("fr", "sw"))
    analysis = quick_analysis(path)
    assert len(draw_k(analysis)) == 3 and len(draw_languages(analysis)) == 1
    assert "no difference from the TF-IDF floor (0.000) could be shown for OT (0.000 [0.000, 0.000])" in rendered(analysis, width=400)


def test_what_some_trials_did_not_measure_is_shown_for_the_others(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", sizes=(1, 2), arms=("OT", "contrastive"), searches=0, queries=20, languages=("fr", "sw"))
    first, second = [trial for trial in RunFolder(path).trials() if json.loads(trial.recipe.read_text())["objective"]["transport"]][:2]
    lines = [line for line in first.metrics.read_text().splitlines() if names.LOSS_TRANSPORT not in line]
    first.metrics.write_text("\n".join([*lines, ""]))
    rows = pq.read_table(second.queries)
    pq.write_table(rows.filter(pc.field("scorer") != "maxsim"), second.queries)
    analysis = quick_analysis(path)
    panels = {panel.name: panel.alt for panel in draw_training(analysis)}
    counted = {name: int(alt.partition(" trials")[0].rpartition(" ")[2]) for name, alt in panels.items()}
    assert counted["loss-transport"] == counted["plan-entropy"] - 1 > 0
    scored = {row.trial_id for row in summary_rows(analysis.summary) if row.scorer == "maxsim"}
    assert second.trial_id not in scored and first.trial_id in scored
    assert write_report(analysis, tmp_path / "out").is_file() and second.trial_id[:8] in rendered(analysis)


def test_a_folder_that_cannot_be_written_is_named(planted_analysis, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match="choose another folder with --out"):
        write_report(planted_analysis, tmp_path / "file" / "report")


def test_the_report_of_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"no sweep\.json"):
        write_report(tmp_path)


def test_reading_and_reporting_import_neither_torch_nor_ray(planted_run):
    code = (
        "import sys; from optical_ray.analysis.load import load_run; import optical_ray.analysis.report, optical_ray.analysis.table; "
        f"load_run({str(planted_run)!r}); print(sorted({{'torch', 'ray', 'transformers'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_run_folder_itself_is_left_as_it_was(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", sizes=(1,), arms=("OT",), searches=0, queries=5)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    write_report(quick_analysis(path))
    assert before == {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file() and file.parent.name != "report"}
    assert load_run(path).record.name == "quickstart"
