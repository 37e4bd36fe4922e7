import pytest

from optical_ray.cli.resume import with_trials
from optical_ray.cli.sweep import load_sweep, with_base
from optical_ray.errors import ConfigError
from optical_ray.recipe import Recipe
from optical_ray.sweep import (
    Asha,
    Categorical,
    Choice,
    Conditional,
    GridPart,
    Integer,
    LogUniform,
    Objective,
    SearchPart,
    StopRules,
    Sweep,
    Uniform,
    describe_part,
)

ARMS = (Choice("OT", {"objective.contrastive": 0.0}), Choice("both", {"objective.contrastive": 1.0}))


def make_sweep(**changes):
    values = {
        "name": "s",
        "question": "q?",
        "expectation": "e.",
        "base": Recipe(),
        "parts": (
            GridPart("grid", {"arm": ARMS, "languages.size": (1, 2, 3)}),
            SearchPart("search", {"transport.epsilon": LogUniform(0.01, 1.0)}, num_trials=4),
        ),
    }
    return Sweep(**(values | changes))


def test_a_grid_is_every_combination_in_order():
    recipes = list(make_sweep().planned().values())
    assert [(r.objective.contrastive, r.languages.size) for r in recipes] == [(c, k) for c in (0.0, 1.0) for k in (1, 2, 3)]
    assert len({r.trial_id for r in recipes}) == 6
    assert make_sweep().num_trials == 10


def test_every_objective_can_be_an_arm_at_equal_budget():
    terms = ("transport", "greedy", "argmax", "pooled_mse", "contrastive", "score_kl")
    arms = tuple(Choice(term, {"objective.transport": 0.0, f"objective.{term}": 1.0, "training.learning_rate": 1e-3}) for term in terms)
    hybrid = Choice("hybrid", {"objective.transport": 0.0, "objective.contrastive": 1.0, "batch.monolingual_share": 0.5})
    part = GridPart("arms", {"arm": (*arms, hybrid), "cost.centre": ("teacher-mean", "language-mean"), "seed": (0, 1)})
    recipes = list(make_sweep(parts=(part,)).planned().values())
    assert len(recipes) == 28
    assert list(dict.fromkeys(r.arm for r in recipes)) == ["OT", "greedy", "argmax", "pooled MSE", "contrastive", "score KL"]


def test_the_fingerprint_is_of_the_question_not_of_the_number_of_trials():
    sweep = make_sweep()
    assert make_sweep(concurrent_trials=2).fingerprint == sweep.fingerprint
    assert with_trials(sweep, 30).fingerprint == sweep.fingerprint
    assert make_sweep(base=Recipe(seed=1)).fingerprint != sweep.fingerprint
    wider = (sweep.parts[0], SearchPart("search", {"transport.epsilon": LogUniform(0.01, 2.0)}, num_trials=4))
    assert make_sweep(parts=wider).fingerprint != sweep.fingerprint


def test_fields_of_the_base_can_be_replaced_from_outside_and_are_another_run():
    sweep = make_sweep()
    other = with_base(sweep, ["training.max_steps=7", "languages.size=2"])  # the grid sets the second itself, the search does not
    assert {recipe.training.max_steps for recipe in other.planned().values()} == {7}
    assert [recipe.languages.size for recipe in other.planned().values()] == [1, 2, 3, 1, 2, 3]
    assert other.base.languages.size == 2
    assert other.folder_name != sweep.folder_name
    assert with_base(sweep, []) == sweep


def test_a_replaced_field_that_no_trial_would_see_is_refused():
    control = GridPart("control", changes={"training.max_steps": 0})
    arms = GridPart("arms", {"arm": ARMS})
    with pytest.raises(ConfigError, match=r"objective.contrastive: every part of the sweep sets it itself"):
        with_base(make_sweep(parts=(arms,)), ["objective.contrastive=0.3"])
    with_base(make_sweep(parts=(control, arms)), ["training.max_steps=5"])
    with pytest.raises(ConfigError, match=r"objective.contrastive: every part"):
        with_base(make_sweep(parts=(arms,)), ['objective={"contrastive": 0.3}'])
    with pytest.raises(ConfigError, match="has no field 'epslion'"):
        with_base(make_sweep(), ["transport.epslion=1"])


def test_trials_cut_or_extend_the_last_search():
    assert with_trials(make_sweep(), 7).num_trials == 7
    assert with_trials(make_sweep(), 6).num_trials == 6
    assert len(with_trials(make_sweep(), 6).parts) == 1
    assert with_trials(make_sweep(), 50).num_trials == 50
    with pytest.raises(ConfigError, match="grid part 'grid' holds 6 trials and is not cut"):
        with_trials(make_sweep(), 5)
    with pytest.raises(ConfigError, match="no search part to extend"):
        with_trials(make_sweep(parts=make_sweep().parts[:1]), 7)
    with pytest.raises(ConfigError, match="expected at least 1"):
        with_trials(make_sweep(), 0)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "at least one"),
        ([GridPart("a")], "expected parts=\\(GridPart"),
        ((GridPart("a", {"seed": ()}),), "axis 'seed' is \\(\\); expected a tuple of at least one value"),
        ((GridPart("a", {"seed": 3}),), "axis 'seed' is 3"),
        (
            (SearchPart("a", {"transport.epsilon": LogUniform(0.1, 1.0)}, 3, sampler="zzz"),),
            "sampler='zzz'; expected tpe or random or nsga2",
        ),
        ((GridPart("a"), GridPart("a")), "parts need different names"),
        ((GridPart("a", {"transport.epsilonn": (1,)}),), "SinkhornConfig has no field 'epsilonn'"),
        ((GridPart("a", {"transport.epsilon": (-1.0,)}),), "greater than or equal to 0"),
        ((SearchPart("a", {"transport.epsilon": Uniform(-1.0, 1.0)}, 3),), "greater than or equal to 0"),
        ((SearchPart("a", {"transport.epsilon": LogUniform(0.0, 1.0)}, 3),), "must be positive on a logarithmic scale"),
        ((SearchPart("a", {"languages.size": Integer(5, 2)}, 3),), "low must not exceed high"),
        ((SearchPart("a", {}, 3),), "at least one dimension|one trial and one dimension"),
        ((SearchPart("a", {"evaluation.scorer": Categorical(("maxsim", "nosuch"))}, 3),), "evaluation.scorer"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_runs(parts, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(parts=parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../x"}, "a name is letters, digits"),
        ({"concurrent_trials": 0}, "concurrent_trials=0; expected at least 1"),
        ({"metric": "test/Success@1"}, "may select by valid/Success@1 only"),
        ({"base": {"seed": 1}}, "expected base=Recipe"),
        ({"resources": {"threads": 1}}, "resources=Resources"),
    ],
)
def test_a_wrong_field_of_a_sweep_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(**change)


def search(**changes):
    return SearchPart(**({"name": "p", "space": {"transport.epsilon": LogUniform(0.01, 1.0)}, "num_trials": 4} | changes))


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "x" * 101}, "at most 100, because it names the run folder"),
        ({"name": None}, "a name is letters"),
        ({"question": None}, "question=None; expected a text"),
        ({"hang_minutes": NAN}, "hang_minutes=nan; expected more than 0"),
        ({"stop": StopRules(max_minutes=NAN)}, "stop.max_minutes=nan; expected at least 0, or None"),
        ({"stop": StopRules(patience=2.5)}, r"stop.patience=2.5; expected at least 1 \(a whole number\), or None"),
        ({"restarts": True}, "restarts=True; expected at least 0"),
        ({"parts": (GridPart(3),)}, "a part has the name 3; expected a text"),
        ({"parts": (GridPart("p", axes=["seed"]),)}, r"axes=\['seed'\]; expected \{field"),
        ({"parts": (GridPart("p", changes=None),)}, "changes=None; expected"),
        ({"parts": (search(num_trials=0),)}, "part 'p': num_trials=0; expected 1 to 100,000"),
        ({"parts": (search(num_trials=10**9),)}, "num_trials=1000000000; expected 1 to 100,000"),
        ({"parts": (search(num_trials=NAN),)}, "num_trials=nan; expected 1 to"),
        ({"parts": (search(startup_trials="a"),)}, "startup_trials='a'; expected at least 0"),
        ({"parts": (search(population=2.5),)}, "population=2.5; expected at least 1"),
        ({"parts": (search(space={}),)}, r"space=\{\}; expected .* at least one dimension"),
        ({"parts": (search(space={"transport.epsilon": (0.1, 1.0)}),)}, r"transport.epsilon is \(0.1, 1.0\); expected Uniform"),
        ({"parts": (search(objectives=("a", "b")),)}, r"objectives=\('a', 'b'\); expected \(Objective"),
        ({"parts": (search(scheduler=Asha(10, float("inf"))),)}, "expected reduction >= 2"),
        ({"parts": (search(objectives=(Objective("a", direction="up"), Objective("b", "cpu_seconds"))),)}, "direction 'up'; expected"),
    ],
)  # fmt: skip
def test_a_wrong_type_or_number_is_named_before_anything_runs(change, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(**change)


def test_an_objective_of_no_language_is_refused():
    base = Recipe().override({"languages.pool": ["sw", "ha"], "languages.size": 2})
    part = search(objectives=(Objective("a", besides=("sw", "ha")), Objective("b", "cpu_seconds")))
    with pytest.raises(ConfigError, match="besides sw, ha, and trials are validated on no other, so it would never have a value"):
        make_sweep(base=base, parts=(part,))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"seed": (0, 1, 0)}, "axis 'seed' holds 0 twice"),
        ({"arm": (Choice("a", {"seed": 0}), Choice("a", {"seed": 1}))}, "axis 'arm' holds a twice"),
        ({"arm": (Choice("a", {"seed": 0}), Choice("b", {"seed": 1})), "seed": (2, 3)}, "axes 'arm' and 'seed' both set seed"),
        ({name: tuple(range(1000)) for name in ("seed", "languages.size")}, "a grid of 1,000,000 points; expected at most 100,000"),
    ],
)
def test_a_grid_that_would_lose_points_or_never_end_is_refused(axes, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(parts=(GridPart("p", axes),))


def test_a_sweep_file_is_loaded_or_explained(tmp_path):
    path = tmp_path / "my_sweep.py"
    with pytest.raises(ConfigError, match="no such file"):
        load_sweep(path)
    path.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="has no SWEEP = Sweep"):
        load_sweep(path)
    path.write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ConfigError, match=r"my_sweep.py, line 2: SystemExit"):
        load_sweep(path)
    path.write_text("x = 1\ny = (\n")
    with pytest.raises(ConfigError, match=r"my_sweep.py, line 2: SyntaxError"):
        load_sweep(path)
    path.write_text("from optical_ray.recipe import Recipe\n\nbase = Recipe().override({'seeed': 1})\n")
    with pytest.raises(ConfigError, match=r"my_sweep.py, line 3: seeed: Recipe has no field 'seeed'"):
        load_sweep(path)


def test_the_shipped_sweeps_are_whole():
    from pathlib import Path

    for path in sorted((Path(__file__).parents[1] / "sweeps").glob("*.py")):
        sweep = load_sweep(path)
        assert sweep.question.endswith("?")
        assert sweep.num_trials >= 1


MIDDLE = {"training.schedule": Categorical(("linear", "cosin", "cosine"))}


def test_every_categorical_value_is_checked_not_only_the_first_and_the_last():
    with pytest.raises(ConfigError, match="training.schedule.*cosin'"):
        make_sweep(parts=(SearchPart("a", MIDDLE, 3),))
    fitting = {"batch.pairs": Categorical((32, 64)), "batch.group": Categorical((32, 64, 64))}
    assert make_sweep(parts=(SearchPart("a", fitting, 3),)).num_trials == 3, "a group of 64 suits the other end of batch.pairs"
    with pytest.raises(ConfigError, match="expected at least one value"):
        make_sweep(parts=(SearchPart("a", {"training.schedule": Categorical(())}, 3),))


def test_a_search_whose_changes_make_sense_only_together_with_its_space_is_accepted():
    part = SearchPart("a", {"batch.pairs": Categorical((48, 96))}, 3, changes={"batch.group": 48})
    assert make_sweep(parts=(part,)).num_trials == 3


def test_a_search_over_language_sets_must_say_which_languages_judge():
    space = {"languages.size": Integer(1, 3), "transport.epsilon": LogUniform(0.1, 1.0)}
    with pytest.raises(ConfigError, match=r"part 'a': languages.size changes .* different languages; set evaluation.objective_languages"):
        make_sweep(parts=(SearchPart("a", space, 3),))
    judged = {"evaluation.objective_languages": ["sw", "ha"]}
    assert make_sweep(parts=(SearchPart("a", space, 3),), base=Recipe().override(judged)).num_trials == 3
    assert make_sweep(parts=(SearchPart("a", space, 3, changes=judged),)).num_trials == 3
    assert make_sweep(parts=(SearchPart("a", {"mixing.temperature": Uniform(1.0, 2.0)}, 3),)).num_trials == 3


def test_a_recipe_that_two_grid_parts_share_is_one_trial():
    shared = (GridPart("a", {"seed": (0, 1)}), GridPart("b", {"seed": (1, 2)}))
    assert make_sweep(parts=shared).num_trials == len(make_sweep(parts=shared).planned()) == 3
    search = SearchPart("search", {"transport.epsilon": LogUniform(0.01, 1.0)}, num_trials=4)
    assert make_sweep(parts=(*shared, search)).num_trials == 7


QUALITY, COST = Objective("quality", languages=("sw", "ha")), Objective("cost", "cpu_seconds")
POOL = Recipe().override({"languages.pool": ["sw", "ha", "yo"]})
EPSILON = {"transport.epsilon": LogUniform(0.01, 1.0)}


def search_of(**changes):
    return make_sweep(parts=(SearchPart("search", changes.pop("space", EPSILON), 4, **changes),), base=POOL)


def test_what_a_search_does_not_use_is_no_part_of_its_fingerprint():
    plain = search_of()
    assert set(describe_part(plain.parts[0])) == {
        "kind",
        "name",
        "space",
        "changes",
        "sampler",
        "startup_trials",
        "seed",
        "num_trials",
    }
    assert make_sweep(base=POOL, parts=plain.parts, stop=StopRules(max_failed=1)).fingerprint == plain.fingerprint
    conditional = {**EPSILON, "languages.seed": Conditional(Integer(0, 3), {"languages.size": (1,)})}
    others = [
        search_of(objectives=(QUALITY, COST)),
        search_of(objectives=(QUALITY, COST), sampler="nsga2"),
        search_of(scheduler=Asha(300), changes={"training.validate_every": 100}),
        search_of(space={"languages.size": Categorical((1, 2)), **conditional}, changes={"evaluation.objective_languages": ["sw"]}),
    ]
    assert len({sweep.fingerprint for sweep in (plain, *others)}) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "nsga2"}, "nsga2 trades objectives off"),
        ({"objectives": (QUALITY,)}, "two or more of different names"),
        ({"objectives": (QUALITY, QUALITY)}, "two or more of different names"),
        ({"objectives": (QUALITY, Objective("loss", "loss/total"))}, "measure 'loss/total'; expected valid/Success@1, pairs_seen"),
        ({"objectives": (QUALITY, Objective("x", "pairs_seen", ("sw",)))}, "languages, or besides, are of valid/Success@1 only"),
        ({"objectives": (QUALITY, Objective("x", languages=("sw",), besides=("ha",)))}, "languages, or besides"),
        ({"objectives": (COST, Objective("x", languages=("fr", "sw")))}, r"names fr; trials are validated on ha, sw, yo"),
        ({"objectives": (COST, Objective("x", besides=("nosuchlanguage",)))}, "objective 'x'"),
        ({"objectives": (QUALITY, COST), "scheduler": Asha(100)}, "None where there are objectives"),
        ({"scheduler": Asha(600)}, "grace_steps from 1 to below training.max_steps=600"),
        ({"scheduler": Asha(100, reduction=1)}, "expected reduction >= 2"),
        ({"scheduler": Asha(100), "changes": {"training.validate_every": 600}}, "judges at validations"),
        ({"space": {**EPSILON, "seed": Conditional(Integer(0, 3), {"batch.pairs": (32,)})}}, "stands before it"),
        ({"space": {"seed": Categorical((0, 1)), "batch.pairs": Conditional(Categorical((57, 64)), {"seed": (1,)})}}, "batch.pairs=57"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused_before_anything_runs(changes, message):
    with pytest.raises(ConfigError, match=message):
        search_of(**changes)


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (StopRules(max_failed=-1), "stop.max_failed=-1"),
        (StopRules(patience=0), "stop.patience=0; expected at least 1"),
        (StopRules(max_minutes="10"), "stop.max_minutes='10'"),
        ({"patience": 3}, "expected stop=StopRules"),
    ],
)
def test_a_stop_rule_that_makes_no_sense_is_refused(stop, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(stop=stop)


def test_objectives_over_named_languages_judge_a_search_over_language_sets():
    space = {"languages.size": Integer(1, 3), **EPSILON}
    rest = Objective("rest", besides=("sw", "ha"))
    assert search_of(space=space, objectives=(QUALITY, rest)).num_trials == 4
    with pytest.raises(ConfigError, match="set evaluation.objective_languages"):
        search_of(space=space, objectives=(QUALITY, Objective("all")))


def test_a_conditional_field_is_not_set_by_every_trial_of_its_part():
    space = {
        "languages.strategy": Categorical(("random", "diverse")),
        "languages.seed": Conditional(Integer(1, 3), {"languages.strategy": ("random",)}),
    }
    sweep = search_of(space=space, changes={"evaluation.objective_languages": ["sw"]})
    assert with_base(sweep, ["languages.seed=7"]).base.languages.seed == 7
    with pytest.raises(ConfigError, match="languages.strategy: every part"):
        with_base(sweep, ["languages.strategy=diverse"])


def test_a_shipped_sweep_says_what_it_expects_decides_and_costs_and_its_sets_fit_their_pools():
    from pathlib import Path

    from optical_ray.languages.sets import choose_languages

    for path in sorted((Path(__file__).parents[1] / "sweeps").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert all(word in text for word in ("Expectation:", "Decides:", "Cost"))
        for recipe in load_sweep(path).planned().values():
            pairs = dict.fromkeys((*recipe.languages.pool, *recipe.languages.unseen), 500)
            if recipe.languages.pool:
                assert len(choose_languages(recipe.languages, pairs)) >= 1
