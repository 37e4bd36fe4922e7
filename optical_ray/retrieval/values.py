"""The value of a measure for every stored row: what averages, intervals and tests are made of.

Names are those of ir-measures (Success@k, RR@k, RR, AP, AP@20, nDCG@10, R@100); MRR, MAP and MRR@k mean RR, AP and RR@k.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from optical_ray.errors import ConfigError
from optical_ray.retrieval.intervals import Floats

STORED = ("AP", "AP@20", "nDCG@10", "R@100")
"""Columns of QUERIES; the others follow from the rank."""
EXPECTED = f"Success@k, RR@k, RR, {', '.join(STORED)}"
_BY_RANK = re.compile(r"(Success|RR)@([1-9]\d{0,8})")


def canonical_measure(name: str) -> str:
    """A measure's name as ir-measures writes it.

    Raises:
        ConfigError: no such measure can be had from what is stored.
    """
    spelled = {known.lower(): known for known in ("RR", *STORED)}
    key = re.sub(r"^m(?=rr|ap)", "", name.strip().lower())
    found = spelled.get(key) or re.sub("^rr@", "RR@", re.sub("^success@", "Success@", key))
    if found not in spelled.values() and not _BY_RANK.fullmatch(found):
        raise ConfigError(f"measure {name!r}: not stored and not derived from what is stored; expected one of {EXPECTED}")
    return found


def values_of(rows: pa.Table, measure: str) -> Floats:
    """float64 [rows], NaN where it is not known.

    Args:
        rows: With the columns of QUERIES that the measure needs: `rank`, or the measure's own.
        measure: Any name that `canonical_measure` takes.

    Raises:
        ConfigError: as `canonical_measure`.
    """
    name = canonical_measure(measure)
    if name in STORED:
        return np.asarray(rows[name].cast(pa.float64()).fill_null(float("nan")).to_numpy(), dtype=np.float64)
    rank = rows["rank"].fill_null(0).to_numpy()
    cut = np.iinfo(np.int32).max if name == "RR" else int(name.partition("@")[2])
    found = (rank >= 1) & (rank <= cut)
    return np.where(found, 1.0 if name.startswith("Success") else 1.0 / np.maximum(rank, 1), 0.0)


def main_measure(task: str) -> str:
    """What is reported of a task first: the measure of its benchmark (XTREME-R), nDCG@10 of a collection.

    Args:
        task: A task, or a view of one (`tatoeba from en`).
    """
    return {"bitext": "Success@1", "tatoeba": "Success@1", "lareqa": "AP@20", "mewsli-x": "RR@20"}.get(task.split(" ")[0], "nDCG@10")
