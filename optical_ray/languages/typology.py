"""Syntactic distance from URIEL's typological features (WALS, SSWL, Ethnologue), which the optional package urielplus carries.

Its data are CC BY-SA 4.0, so none are in this repository. Its code can write into its own folder, so its file is read without importing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from optical_ray.errors import DataError
from optical_ray.languages.metadata import Metadata

PACKAGE = "urielplus"
FEATURES = Path("database", "original_uriel", "features.npz")
MINIMUM_SHARED_FEATURES = 20
"""Of 103. Fewer in common, and the share that differs says more about what was documented than about the languages."""


@dataclass(frozen=True, slots=True)
class SyntacticFeatures:
    """URIEL's binary features whose name begins with S_, F of them."""

    values: dict[str, NDArray[np.int8]]
    """By ISO 639-3, int8 [F]: 1 and 0, and -1 where no source knows the feature. 1 wins where sources disagree, as in URIEL's union."""

    def of(self, language: Metadata) -> NDArray[np.int8] | None:
        """The features of a language or its macrolanguage (zh: `cmn` and `zho`), whichever knows more of them."""
        codes = _alpha3(language.tag), language.iso
        found = [self.values[code] for code in codes if code is not None and code in self.values]
        return max(found, key=lambda features_F: int((features_F >= 0).sum()), default=None)


def syntactic_distance(first: Metadata, second: Metadata) -> float | None:
    """Share of the features known of both languages in which they differ; None with fewer than 20 in common.

    Raises:
        DataError: urielplus is not installed, or its file is not what it was.
    """
    if first.tag == second.tag:
        return 0.0
    features = read_features()
    a_F, b_F = features.of(first), features.of(second)
    if a_F is None or b_F is None:
        return None
    known_F = (a_F >= 0) & (b_F >= 0)
    if int(known_F.sum()) < MINIMUM_SHARED_FEATURES:
        return None
    return float((a_F != b_F)[known_F].mean())


def typology_source() -> str:
    """Package and version that the features come from, recorded with results."""
    try:
        return f"URIEL syntactic features in {PACKAGE} {version(PACKAGE)} (CC BY-SA 4.0)"
    except PackageNotFoundError:
        raise _missing() from None


def read_features() -> SyntacticFeatures:
    """The features of all languages; 0.6 s and 150 MB the first time, then kept.

    Raises:
        DataError: as `syntactic_distance`.
    """
    spec = find_spec(PACKAGE)  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise _missing()
    return _read_features(Path(spec.submodule_search_locations[0]) / FEATURES)


@lru_cache(maxsize=1)
def _read_features(path: Path) -> SyntacticFeatures:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            syntactic = np.char.startswith(arrays["feats"], "S_")
            union = arrays["data"][:, syntactic, :].max(axis=2).astype(np.int8)
            return SyntacticFeatures(dict(zip(arrays["langs"].tolist(), union, strict=True)))
    except (OSError, KeyError, ValueError, IndexError, BadZipFile) as error:
        raise DataError(
            f"{path}: not URIEL's features ({error}); install urielplus 1.3.2 again, or choose another languages.distance"
        ) from None


@lru_cache(maxsize=4096)
def _alpha3(tag: str) -> str | None:
    import langcodes

    # Dari is `prs` in the table; as `fas` it would get the features of Iran's Persian.
    return None if tag == "fa-AF" else str(langcodes.Language.get(tag).to_alpha3())


def _missing() -> DataError:
    return DataError(
        "languages.distance=syntactic: the package urielplus is not installed; pip install 'optical-ray[typology]', or choose mean, "
        "genealogical, geographic or script"
    )
