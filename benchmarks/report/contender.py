"""One contender on one run folder, in a process of its own: python -m benchmarks.report.contender NAME RUN OUT; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def report(run: Path, out: Path) -> dict[str, Any]:
    """The whole report, as `optical report RUN --out OUT` writes it."""
    began = time.monotonic()
    from optical_ray.analysis.analyse import analyse
    from optical_ray.analysis.load import load_run
    from optical_ray.analysis.report import write_report

    stages = {"import": time.monotonic() - began}
    loaded = load_run(run)
    stages["load"] = time.monotonic() - began - sum(stages.values())
    analysis = analyse(loaded)
    stages["analyse"] = time.monotonic() - began - sum(stages.values())
    page = write_report(analysis, out)
    stages["write"] = time.monotonic() - began - sum(stages.values())
    return {"rows": loaded.num_rows, "page_mb": page.stat().st_size / 1e6} | {f"{name}_seconds": value for name, value in stages.items()}


def pandas(run: Path, out: Path) -> dict[str, Any]:
    """What a notebook begins with: every trial's rows in one data frame, and the mean of each trial, system and language."""
    import pandas as pd

    columns = ["system", "scorer", "query_language", "rank"]
    files = sorted(run.glob("trials/*/queries.parquet"))
    rows = pd.concat([pd.read_parquet(path, columns=columns).assign(trial=path.parent.name) for path in files])
    means = rows.assign(found=rows["rank"] == 1).groupby(["trial", "system", "scorer", "query_language"]).found.mean()
    out.mkdir(parents=True, exist_ok=True)
    means.to_csv(out / "means.csv")
    return {"rows": len(rows)}


CONTENDERS = {"optical report": report, "pandas": pandas}


def main() -> None:
    """Seconds and peak memory of this process, imports included."""
    name, run, out = sys.argv[1:]
    began = time.monotonic()
    told = CONTENDERS[name](Path(run), Path(out))
    # Not getrusage: its peak is that of the process which started this one, where that was larger.
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    peak_mb = int(peak.split()[1]) * 1024 / 1e6
    print(json.dumps(told | {"seconds": time.monotonic() - began, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
