"""cluster/: what cannot be run here is held against its schema, and all of it against what must never be in such a file."""

import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from test_lock import lock_lines

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "cluster"
LAUNCHED = ("on-premise.yaml", "aws.yaml", "gcp.yaml")
KUBERNETES = ("rayjob.yaml", "shared-volume.yaml")
NOT_RUN = ("aws.yaml", "gcp.yaml", *KUBERNETES, "Dockerfile", "slurm.sh")
FILES = sorted({*LAUNCHED, *NOT_RUN})


def load(name):
    return yaml.safe_load((CLUSTER / name).read_text())


def without_comments(name):
    """What a file does, as text: comments may name what it does not do."""
    if name.endswith(".yaml"):
        return yaml.safe_dump(load(name), width=10_000)
    return "\n".join(line for line in (CLUSTER / name).read_text().splitlines() if not re.match(r"\s*#(?!SBATCH)", line))


def leaves(value, path=""):
    """(dotted path, value) of everything in nested maps and lists."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for child in value:
            yield from leaves(child, f"{path}[]")
    else:
        yield path, value


def test_every_file_is_tested_here():
    assert sorted(path.name for path in CLUSTER.iterdir() if path.name != "README.md") == FILES


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_launcher_accepts_it_as_it_stands_and_with_its_defaults(name):
    import json

    from ray.autoscaler import _private as private  # the package that holds the schema lies above it
    from ray.autoscaler._private.util import prepare_config, validate_config

    schema = json.loads((Path(private.__file__).parents[1] / "ray-schema.json").read_text())
    config = load(name)
    jsonschema.validate(config, schema)
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError, match="Additional properties are not allowed"):
        jsonschema.validate(config | {"setup_command": []}, schema)


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_mounted_is_there_and_is_all_that_the_environment_is_made_of(name):
    mounts = load(name)["file_mounts"]
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert {remote: local for remote, local in mounts.items() if remote != f"~/optical_ray/{local}"} == {}
    assert [local for local in mounts.values() if not (ROOT / local).exists()] == []
    assert {"optical_ray", "sweeps", "Makefile", "requirements.lock", "pyproject.toml", "README.md", "LICENSE", "NOTICE"} == set(
        mounts.values()
    )


def test_the_environment_of_every_cluster_is_the_locked_one():
    makefile = (ROOT / "Makefile").read_text()
    rule = makefile[makefile.index(".venv/ready: requirements.lock") :]
    assert "-r requirements.lock" in rule
    assert "--no-deps --editable ." in rule
    for name in LAUNCHED:
        assert "make -C ~/optical_ray .venv/ready" in load(name)["setup_commands"]
    docker = without_comments("Dockerfile")
    assert "-r requirements.lock" in docker
    assert "--no-deps ." in docker
    assert re.search(r"^FROM python:3\.1[12]-", docker, re.MULTILINE)
    (ray,) = [line.split("==")[1] for line in lock_lines() if line.startswith("ray==")]
    assert load("rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == ray


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_node_asks_for_the_token_and_the_dashboard_listens_at_home_only(name):
    config = load(name)
    starts = [line for kind in ("head", "worker") for line in config[f"{kind}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    (head,) = [line for line in starts if "--head" in line]
    assert "--dashboard-host=127.0.0.1" in head
    assert any("export RAY_AUTH_MODE=token" in line for line in config["setup_commands"]), "drivers too"


SECRETS = {
    "a key": r"-----BEGIN|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30}",
    "a long random word": r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{32,}\b",
    "a password": r"(?i)(password|passwd|secret_?key)\s*[:=]\s*\S",
    "a token": r"(?i)(?<!PATH)(?<!MODE)(?<!/auth_)token\s*[:=]\s*[A-Za-z0-9+/=_-]{12,}",
}


@pytest.mark.parametrize("name", [*FILES, "README.md"])
def test_no_file_holds_a_secret_or_switches_authentication_off(name):
    text = (CLUSTER / name).read_text()
    assert {what for what, pattern in SECRETS.items() if re.search(pattern, text)} == set()
    assert "disabled" not in text


@pytest.mark.parametrize("name", FILES)
def test_nothing_listens_to_the_world_and_no_registry_is_named(name):
    text = without_comments(name)
    assert not re.search(r"\b0\.0\.0\.0\b|(?<![\w:])::(?![\w:])|LoadBalancer|NodePort|enableIngress", text)
    assert not re.search(r"docker\.io|gcr\.io|quay\.io|ghcr\.io|amazonaws\.com|pypi\.org|--index-url", text)


@pytest.mark.parametrize("name", FILES)
def test_what_the_user_must_fill_in_is_named_at_the_top(name):
    head = (CLUSTER / name).read_text()
    listed = re.search(r"To be replaced: ([^;.]*)", head)
    words = set(re.findall(r"\b[A-Z][A-Z_]{3,}\b", listed.group(1))) if listed else set()
    used = set()
    content = {key: value for key, value in load(name).items() if key != "file_mounts"} if name.endswith(".yaml") else {}
    for _, value in leaves(content):
        # RAY_... are settings; NAME=... and $NAME are the shell's.
        used |= set(re.findall(r"(?<![\w$%.])(?!RAY_)[A-Z][A-Z_]{3,}\b(?!=)", str(value)))
    used -= {"AUTOSCALER_UPDATE_INTERVAL_S", "PERSISTENT", "TERMINATE"}
    assert used == words


@pytest.mark.parametrize("name", FILES)
def test_file_and_readme_agree_on_what_was_run(name):
    (row,) = [line for line in (CLUSTER / "README.md").read_text().splitlines() if line.startswith(f"| [`{name}`]({name})")]
    assert ("**not run**" in row) == (name in NOT_RUN)
    assert ("NOT RUN" in (CLUSTER / name).read_text()) == (name in NOT_RUN)


# The fields of ray.io/v1 that rayjob.yaml uses, from KubeRay's types (ray-operator/apis/ray/v1/rayjob_types.go, raycluster_types.go; also
# docs/reference/api.md; authOptions since 1.5.1), and of the pod template from the Kubernetes API.
RAY_CLUSTER_SPEC = {
    "rayVersion": str,
    "authOptions": {"mode": "disabled|token", "secretName": str},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {"version": "v1|v2", "idleTimeoutSeconds": int, "upscalingMode": "Default|Aggressive|Conservative"},
    "headGroupSpec": {"serviceType": str, "rayStartParams": "strings", "template": "pod"},
    "workerGroupSpecs": [
        {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int, "rayStartParams": "strings", "template": "pod"}
    ],
}
RAY_JOB_SPEC = {
    "entrypoint": str,
    "backoffLimit": int,
    "submissionMode": "K8sJobMode|HTTPMode|InteractiveMode|SidecarMode",
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int,
    "rayClusterSpec": RAY_CLUSTER_SPEC,
}
QUANTITIES = {"limits": "strings", "requests": "strings"}
POD = {
    "spec": {
        "securityContext": {"runAsUser": int, "runAsGroup": int, "fsGroup": int},
        "containers": [
            {
                "name": str,
                "image": str,
                "ports": [{"name": str, "containerPort": int}],
                "resources": QUANTITIES,
                "volumeMounts": [{"name": str, "mountPath": str}],
            }
        ],
        "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
    }
}


def check(value, shape, path):
    """Unknown fields and wrong types are errors, as the API server would have it."""
    if shape == "pod":
        shape = POD
    if shape == "strings":
        assert isinstance(value, dict) and all(isinstance(child, str) for child in value.values()), f"{path}: quote its values"
    elif isinstance(shape, dict):
        assert value.keys() <= shape.keys(), f"{path}: unknown {value.keys() - shape.keys()}"
        for key, child in value.items():
            check(child, shape[key], f"{path}.{key}")
    elif isinstance(shape, list):
        for child in value:
            check(child, shape[0], f"{path}[]")
    elif isinstance(shape, str):
        assert value in shape.split("|"), f"{path}: {value}"
    else:
        assert type(value) is shape, f"{path}: {value!r}"


def test_the_rayjob_has_the_fields_of_the_custom_resource_and_is_one_whole():
    job = load("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job) == {"apiVersion", "kind", "metadata", "spec"}
    check(job["spec"], RAY_JOB_SPEC, "spec")
    with pytest.raises(AssertionError, match="unknown {'ttlSeconds'}"):
        check(job["spec"] | {"ttlSeconds": 1}, RAY_JOB_SPEC, "spec")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    claim = load("shared-volume.yaml")
    assert (claim["kind"], claim["spec"]["accessModes"]) == ("PersistentVolumeClaim", ["ReadWriteMany"])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (mount,) = container["volumeMounts"]
        assert job["spec"]["entrypoint"].count(f"{mount['mountPath']}/") == 2, "runs and artifacts lie on the shared volume"


@pytest.mark.parametrize("name", FILES)
def test_the_sweep_in_its_example_line_is_one_that_the_command_line_takes(name):
    """The commands in the comments and the entrypoint, parsed by the parser itself."""
    import shlex

    from optical_ray.cli import build_parser

    text = re.sub(r"\s*\\\n#\s*", " ", (CLUSTER / name).read_text())
    if name == "rayjob.yaml":
        text = load(name)["spec"]["entrypoint"]
    words = [shlex.split(line) for line in re.findall(r"(?:ray submit \S+|optical sweep) (\S*quickstart\.py.*)", text)]
    assert bool(words) == (name in {*LAUNCHED, "rayjob.yaml"})
    for found in words:
        options = build_parser().parse_args(["sweep", *(word for word in found if word != "--")])
        assert options.address == "auto"
        assert options.wait > 0
        assert str(options.out).startswith("/shared/") and str(options.store).startswith("/shared/")


# From sbatch's manual.
SBATCH = {"job-name", "nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-task", "exclusive", "time", "signal", "output"}


def test_the_slurm_script_parses_and_its_directives_come_before_its_commands():
    path = CLUSTER / "slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    lines = path.read_text().splitlines()
    directives = {}
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    for index, line in enumerate(lines):
        if line.startswith("#SBATCH"):
            assert index < first_command, f"line {index + 1}: sbatch reads no directive after the first command"
            name, _, value = re.fullmatch(r"#SBATCH --([a-z-]+)(=)?(\S+)?", line).groups()
            directives[name] = value
    assert directives.keys() == SBATCH
    assert directives["ntasks-per-node"] == "1"
    assert re.fullmatch(r"B:INT@\d+", directives["signal"])
    text = without_comments("slurm.sh")
    assert "export RAY_AUTH_MODE=token" in text
    assert "--dashboard-host=127.0.0.1" in text
    assert re.search(r"optical sweep .*--wait \d+", text)
