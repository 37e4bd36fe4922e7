"""What a sweep's searches have drawn so far, read from Optuna's journal while a driver writes it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from optical_ray.errors import RunFolderError

INVALID = "invalid"
"""User attribute of a point that never ran: why it gives no recipe."""


def count_points(journal: Path) -> Mapping[str, Mapping[str, int]]:
    """Points by search part and state: Optuna's states in lower case, and `invalid` for those that gave no recipe.

    Nothing is written, and a last line that is being written is passed over.

    Raises:
        RunFolderError: the journal is damaged.
    """
    if not journal.is_file() or not journal.stat().st_size:  # Optuna would make the file
        return {}
    import optuna  # half a second to import, and a run of grids alone has no journal to speak of
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    logging.getLogger("optuna").setLevel(logging.WARNING)
    counts: dict[str, Counter[str]] = {}
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        for study in storage.get_all_studies():
            trials = storage.get_all_trials(study._study_id, deepcopy=False)
            counts[study.study_name] = Counter(INVALID if INVALID in trial.user_attrs else trial.state.name.lower() for trial in trials)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, optuna.exceptions.OptunaError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RunFolderError(f"{journal}: Optuna cannot read it ({reason}); the trials' own files are whole") from None
    return counts
