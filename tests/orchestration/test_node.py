"""A node of the cluster is lost in mid-run."""

import collections
import json
import subprocess
import sys
from pathlib import Path


def test_the_trial_of_a_lost_node_goes_on_on_another(tmp_path, importable):
    script = Path(__file__).with_name("lost_node.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "run")], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["lost"]
    assert (len(told["finished"]), told["failed"]) == (3, [])
    started = collections.Counter(line.split()[0] for line in (tmp_path / "run" / "calls.log").read_text().splitlines())
    assert sorted(started.values()) == [1, 1, 2], "the lost node's trial, and no other, is begun again"
