"""A data set of the Hugging Face hub, through the `datasets` extra, which downloads it and keeps it as Arrow files: those are read."""

from __future__ import annotations

import importlib
import os
from typing import Any

from optical_ray.data.reading.discover import Found, Group
from optical_ray.data.reading.naming import code_in_name, code_of_pair
from optical_ray.data.reading.places import FoundFile, reason
from optical_ray.data.reading.spec import HUB_PREFIX, SourceSpec
from optical_ray.errors import DataError


def find_hub_files(spec: SourceSpec) -> Found:
    """The Arrow files of a hub data set, downloaded where they are not cached. On a cluster the cache must be a shared folder (HF_HOME).

    Raises:
        DataError: the extra is missing, or the data set cannot be had (offline, not found, gated).
    """
    repository = spec.path.removeprefix(HUB_PREFIX)
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError:
        hint = f"or `hf download {repository} --repo-type dataset --local-dir FOLDER` and give FOLDER"
        raise DataError(f"{spec.path}: needs the extra `datasets`; pip install 'optical-ray[datasets]', {hint}") from None
    try:
        loaded = datasets.load_dataset(repository, spec.config, split=spec.split, revision=spec.revision)
    except Exception as error:  # each hub client raises its own kinds: none of them is a defect of ours
        hint = f"on a machine with a network: `hf download {repository} --repo-type dataset --local-dir FOLDER`, then give FOLDER here"
        raise DataError(f"{spec.path}: cannot be loaded ({type(error).__name__}: {reason(error)}); {hint}") from None
    splits = loaded if isinstance(loaded, dict) else {spec.split or "all": loaded}
    files: list[FoundFile] = []
    licence = None
    for split, rows in splits.items():
        licence = licence or rows.info.license or None
        for entry in rows.cache_files:
            path = os.path.abspath(entry["filename"])
            name = f"{split}/{os.path.basename(path)}"
            state = os.stat(path)
            files.append(FoundFile(path, name, f"{spec.path}, {name}", state.st_size, state.st_mtime_ns))
    if not files:
        raise DataError(f"{spec.path}: `datasets` keeps no Arrow file of it; download it as a folder and give that")
    config = spec.config or ""
    code = code_in_name(config, spec.kind) if spec.kind == "text" else code_of_pair(config) or code_of_pair(repository)
    groups = [Group("arrow", (file,), code) for file in files]
    return Found(groups, repository, licence)
