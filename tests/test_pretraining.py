"""Pre-training on the tiny world: what is shared, what is not, what survives a kill, and the trial that starts from it."""

import json
import shutil

import pytest
import torch

from optical_ray.artifacts import Store, fingerprint, read_manifest
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus_config import CorpusConfig
from optical_ray.encoders.pretrained import load_pretrained
from optical_ray.errors import ArtifactError, ConfigError, DataError, LanguageError, ResourceError
from optical_ray.pretraining.artifact import build_pretrained, describe_pretrained
from optical_ray.pretraining.prepare import find_tokenizer, prepare_pretraining
from optical_ray.recipe import Recipe, Resources
from optical_ray.retrieval.encoding import encode_texts
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder, TrialFolder
from optical_ray.stages import prepare
from optical_ray.trial import run_trial

SETTINGS = {
    "pretraining.training.max_steps": 12,
    "pretraining.training.report_every": 4,
    "pretraining.training.validate_every": 6,
    "pretraining.training.checkpoint_every": 4,
    "pretraining.languages.size": 2,
    "pretraining.batch.pairs": 16,
    "pretraining.batch.group": 8,
    "pretraining.valid_rows": 20,
}


@pytest.fixture(scope="module")
def recipe(world):
    return world.recipe.override(SETTINGS)


@pytest.fixture(scope="module")
def encoder(world, recipe):
    return build_pretrained(recipe, world.store)


def inputs(recipe, world):
    return prepare_pretraining(recipe, world.store).inputs


def test_an_encoder_is_left_with_all_that_is_to_be_known_of_it(encoder, world):
    facts = json.loads((encoder / "pretraining.json").read_text())
    assert facts["languages"] == ["sw", "ha"]
    assert facts["draws"].keys() == facts["rows"].keys() == facts["tokens"].keys() == {"sw", "ha"}
    assert sum(facts["draws"].values()) == 12 * 16
    assert {tag: row["seen"] for tag, row in facts["validation"].items()} == {"sw": True, "ha": True, "yo": False, "so": False}
    for row in facts["validation"].values():
        assert 0 < row["unigram"] < row["start"]
        assert row["masked_tokens"] > 0
    assert facts["validation"]["sw"]["end"] < facts["validation"]["sw"]["start"]
    assert not (encoder / "checkpoint").exists()
    rows = {(row.step, row.name): row.value for row in TrialFolder(encoder).read_metrics()}
    assert {step for step, name in rows if name == names.LOSS_MASKED_LM} == {4, 6, 8, 12}
    assert {step for step, name in rows if name == names.VALID_MASKED_LM} == {0, 6, 12}
    assert rows[12, names.valid_masked_lm("yo")] == pytest.approx(facts["validation"]["yo"]["end"])
    model, tokenizer = load_pretrained(str(encoder))
    assert len(tokenizer) == model.get_input_embeddings().weight.shape[0]


def test_it_is_named_by_its_own_inputs(recipe, world):
    own = inputs(recipe, world)
    for shared in (
        {"transport.epsilon": 0.5},
        {"seed": 3},
        {"languages.size": 1},
        {"student.projection_bias": False},
        {"mixing.pairs": 50},
    ):
        assert inputs(recipe.override(shared), world) == own, shared
    for apart in (
        {"languages.size": 3},
        {"seed": 1},
        {"mixing.pairs": 100},
        {"mask_probability": 0.3},
        {"training.max_steps": 13},
        {"normalise": False},
    ):
        assert inputs(recipe.override({f"pretraining.{name}": value for name, value in apart.items()}), world) != own, apart
    assert inputs(recipe.override({"student.num_layers": 2}), world) != own
    assert inputs(recipe.override({"pretraining.training.micro_groups": 1, "pretraining.batch.token_shards": False}), world) == own


def test_language_sets_are_nested_and_the_tokenizer_is_that_of_the_pool(recipe, world):
    found = [prepare_pretraining(recipe.override({"pretraining.languages.size": k}), world.store) for k in (1, 2, 3)]
    assert [each.languages for each in found] == [("sw",), ("sw", "ha"), ("sw", "ha", "yo")]
    assert {each.tokenizer_path for each in found} == {prepare(world.recipe, world.store).tokenizer_path}
    plain = read_manifest(prepare(world.recipe, world.store).tokens.rules.corpus)
    assert read_manifest(world.store.root / found[0].tokenizer_path.rpartition("/")[2])["inputs"] == {
        "corpus": fingerprint({"kind": plain["kind"], "inputs": plain["inputs"]}),
        "languages": ["ha", "so", "sw", "yo"],
        "config": {"vocab_size": 600, "min_frequency": 2},
    }, "what it was before there was pre-training"


def test_a_tokenizer_may_be_of_the_pretraining_set_alone(recipe, world):
    alone = recipe.override({"tokenizer.scope": "set", "pretraining.languages.size": 1})
    assert find_tokenizer(alone, world.store) != find_tokenizer(recipe, world.store)
    manifest = read_manifest(world.store.root / find_tokenizer(alone, world.store)[0].rpartition("/")[2])
    assert manifest["inputs"]["languages"] == ["sw"]
    control = alone.override({"pretraining.training.max_steps": 0, "languages.size": 3})
    manifest = read_manifest(world.store.root / find_tokenizer(control, world.store)[0].rpartition("/")[2])
    assert manifest["inputs"]["languages"] == ["ha", "sw", "yo"], "without pre-training, of the training set"


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("kill_at", [4, 6], ids=["on a checkpoint", "past one"])
def test_killed_and_called_again_it_goes_on_bit_for_bit(recipe, world, encoder, tmp_path, kill_at):
    """In micro-batches of another process's store: the same corpus, tokenizer and encoder are built there."""
    store = Store(tmp_path)
    steps = []

    def die(step, metrics):
        if step == kill_at:
            raise Killed
        steps.append(step)

    with pytest.raises(Killed):
        build_pretrained(recipe, store, on_report=die)
    assert not list(tmp_path.glob("pretrained-encoder-*"))
    again = build_pretrained(recipe, store, on_report=lambda step, metrics: steps.append(step))
    assert steps == ([0, 6, 8, 12] if kill_at == 4 else [0, 4, 8, 12])
    assert again.name == encoder.name
    for name in ("model.safetensors", "pretraining.json"):
        assert (again / name).read_bytes() == (encoder / name).read_bytes(), name


def test_a_trial_starts_from_it_and_says_so(recipe, world, encoder, tmp_path):
    recipe = recipe.override({"training.max_steps": 4, "training.validate_every": 4})
    run = RunFolder(tmp_path)
    assert run_trial(recipe, Resources(), world.store, run).state == "finished"
    whole = json.loads(run.trial(recipe.trial_id).plan.read_text())
    plan = whole["pretraining"]
    assert whole["pretraining_languages"]["source"] == "pretraining.json"
    assert [tag for tag, seen in whole["pretraining_languages"]["seen"].items() if seen] == sorted(
        plan["languages"], key=recipe.languages.pool.index
    )
    assert plan["languages"] == ["sw", "ha"]
    assert plan["steps"] == 12
    assert encoder.name == f"pretrained-encoder-{plan['artifact'][:16]}"
    prepare(recipe, world.store).check_same_data(run.trial(recipe.trial_id))


def test_the_control_differs_in_the_encoder_alone(recipe, world, encoder, monkeypatch):
    """The projection is one draw, fitted to each encoder, so that both start at the teacher's mean and spread; and the control's embeddings
    have the mean and spread that the pre-trained ones are given."""
    from optical_ray import distillation

    def first_student(recipe):
        found = []

        class Seen(Exception):
            pass

        def stop(model, config):
            found.append(model)
            raise Seen

        monkeypatch.setattr(distillation, "start_training", stop)
        with pytest.raises(Seen):
            run_trial(recipe, Resources(), world.store, RunFolder(world.store.root.parent / "seen"))
        return found[0]

    recipe = recipe.override({"student.projection_fit": "new"})
    taught = first_student(recipe)
    control = first_student(recipe.override({"pretraining.training.max_steps": 0}))
    ratio = taught.projection.weight / control.projection.weight
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    stages = prepare(recipe, world.store)
    for student in (taught, control):
        vectors = encode_texts(student, stages.sample_tokens(distillation.FIT_TEXTS)).vectors_TD
        torch.testing.assert_close(vectors.mean(0), student.centre_D, atol=1e-4, rtol=0)
        distance = (vectors - vectors.mean(0)).norm(dim=1).mean().item()
        assert distance == pytest.approx(stages.centre.spread, rel=1e-4)
    assert all(
        torch.equal(one, other)
        for one, other in zip(taught.encoder.parameters(), load_pretrained(str(encoder))[0].parameters(), strict=True)
    )
    tables = [model.encoder.get_input_embeddings().weight.detach() for model in (taught, control)]
    assert tables[0].std().item() == pytest.approx(tables[1].std().item(), rel=0.05)
    for table in tables:
        assert (table.mean(0).norm() / table.norm(dim=1).mean()).item() < 0.15, "no vector that all have in common"


def test_text_alone_is_read_too_and_a_language_it_lacks_is_one_line(world, tmp_path):
    for index, tag in enumerate(("sw", "ha")):
        folder = tmp_path / "text" / f"lang={tag}"
        folder.mkdir(parents=True)
        lines = [f"{word} {other} neno la {tag} {number}" for number, (word, other) in enumerate([("moja", "mbili"), ("tatu", "nne")] * 60)]
        (folder / "part.txt").write_text("\n".join(lines[index:]) + "\n")
    rules = {"kind": "text", "sources": [str(tmp_path / "text")], "min_pairs": 20, "cleaning": {"near_duplicates": "off"}}
    corpus = build_corpus(world.store, CorpusConfig.parse(rules, "corpus"))
    recipe = world.recipe.override(SETTINGS | {"pretraining.corpus": str(corpus.folder), "pretraining.languages.pool": ["sw", "ha"]})
    path = build_pretrained(recipe, world.store)
    facts = json.loads((path / "pretraining.json").read_text())
    assert facts["corpus"] == {"fingerprint": corpus.fingerprint, "kind": "text"}
    pieces = read_manifest(world.store.root / find_tokenizer(recipe, world.store)[0].rpartition("/")[2])["inputs"]
    assert pieces["others"] == [{"corpus": corpus.fingerprint, "languages": ["ha", "sw"]}], "the control reads by the same tokenizer"
    assert find_tokenizer(recipe.override({"pretraining.training.max_steps": 0}), world.store) == find_tokenizer(recipe, world.store)
    with pytest.raises(LanguageError, match=r"^pretraining\.languages\.pool: yo, so not in the corpus, which has ha, sw$"):
        build_pretrained(recipe.override({"pretraining.languages.pool": []}), world.store)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"training.max_steps": 0}, ConfigError, r"^pretraining\.training\.max_steps=0: this recipe has no pre-training"),
        ({"languages.size": 9}, LanguageError, r"^pretraining\.languages\.size: 9 languages asked for, the pool holds 4"),
        ({"languages.always": ["tlh"]}, LanguageError, r"^pretraining\.languages\.always: "),
        ({"mixing.pairs": 1, "mixing.budget": "total"}, ConfigError, r"^pretraining\.mixing"),
    ],
)
def test_what_a_user_can_mend_is_one_line_with_the_field(recipe, world, change, error, message):
    recipe = recipe.override({f"pretraining.{name}": value for name, value in change.items()})
    with pytest.raises(error, match=message) as raised:
        build_pretrained(recipe, world.store)
    assert "\n" not in str(raised.value)


def test_workers_that_cannot_share_a_batch_of_pretraining_are_refused(recipe):
    with pytest.raises(ResourceError, match=r"4 workers cannot share 2 groups of 8 pairs evenly; lower pretraining\.batch\.group"):
        Resources(workers=4).check(recipe.override({"batch.pairs": 32}))
    Resources(workers=4).check(recipe.override({"batch.pairs": 32, "pretraining.training.max_steps": 0}))


def test_a_budget_in_tokens_and_the_best_validation_are_taken(world, recipe):
    changes = {"mixing.tokens": 300, "mixing.budget": "total", "training.evaluate_checkpoint": "best", "languages.seed": 1}
    recipe = recipe.override({f"pretraining.{name}": value for name, value in changes.items()})
    path = build_pretrained(recipe, world.store)
    facts = json.loads((path / "pretraining.json").read_text())
    assert sum(facts["tokens"].values()) <= 300 * 1.2
    by_step = {row.step: row.value for row in TrialFolder(path).read_metrics() if row.name == names.VALID_MASKED_LM and row.step}
    best = min(by_step.values())
    assert by_step[facts["kept_step"]] == best and facts["steps"] == 12
    assert sum(facts["validation"][tag]["end"] for tag in facts["languages"]) / 2 == pytest.approx(best)


def test_pretraining_continues_a_folder_and_its_contents_name_it(world, recipe, encoder):
    continued = recipe.override({"student.init": str(encoder), "pretraining.training.max_steps": 2, "pretraining.languages.size": 1})
    path = build_pretrained(continued, world.store)
    facts = json.loads((path / "pretraining.json").read_text())
    assert facts["init"]["files"].keys() >= {"model.safetensors", "config.json"}
    assert Recipe.parse(continued.to_dict(), "").student.init == str(encoder)
    assert describe_pretrained(path)["languages"] == ["sw"]


def test_an_encoder_that_lost_a_file_is_refused_with_what_to_do(world, recipe):
    recipe = recipe.override({"pretraining.training.max_steps": 1, "pretraining.seed": 7})
    path = build_pretrained(recipe, world.store)
    (path / "pretraining.json").unlink()
    with pytest.raises(ArtifactError, match=r"no pretraining.json, which a pre-trained encoder has; delete the folder to train it again"):
        build_pretrained(recipe, world.store)


def test_a_corpus_that_was_changed_is_refused_before_anything_is_made_of_it(world, recipe, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(build_corpus(world.store, recipe.corpus).folder, copy)
    part = next((copy / "lang=ha").glob("part-train-*"))
    part.write_bytes((copy / "lang=sw" / part.name).read_bytes())
    changed = recipe.override({"pretraining.corpus": str(copy)})
    with pytest.raises(DataError, match=r"part-train-00000.parquet: not as it was written when the corpus was built"):
        build_pretrained(changed, Store(tmp_path / "store"))
    shutil.copytree(build_corpus(world.store, recipe.corpus).folder, copy, dirs_exist_ok=True)
    build_pretrained(changed, Store(tmp_path / "store"))  # nothing wrong was left behind
