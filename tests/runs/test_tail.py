import pytest

from optical_ray.runs.folder import TrialFolder
from optical_ray.runs.names import LOSS
from optical_ray.runs.tail import last_values


@pytest.mark.parametrize("rows", [1, 3, 5000])
def test_the_last_values_are_found_at_the_end_of_any_file(tmp_path, rows):
    folder = TrialFolder(tmp_path / "0123456789ab")
    folder.path.mkdir()
    lines = []
    for step in range(rows):
        lines.append(f'{{"step": {step}, "resumed_from": null, "name": "{LOSS}", "value": {1.0 / (step + 1)}}}')
        lines.append(f'{{"step": {step}, "resumed_from": null, "name": "other", "value": null}}')
    folder.metrics.write_text("\n".join(lines) + "\n")
    assert last_values(folder.metrics, (LOSS, "other", "absent")) == {LOSS: 1.0 / rows, "other": None}
    with folder.metrics.open("a") as stream:
        stream.write(f'{{"step": 9999, "name": "{LOSS}", "va')
    assert last_values(folder.metrics, (LOSS,)) == {LOSS: 1.0 / rows}, "a line that is being written does not count"


def test_without_metrics_there_are_no_values(tmp_path):
    assert last_values(tmp_path / "metrics.jsonl", (LOSS,)) == {}
