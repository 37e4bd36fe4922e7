"""What is known of a language offline: family, lineage and place (Glottolog, in languages.tsv), script (CLDR, through langcodes)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from optical_ray.languages.codes import describe_language

TABLE = "languages.tsv"

UNRELATED_SHELVES = frozenset({"Artificial Language", "Mixed Language", "Pidgin", "Speech Register"})
"""Top levels of Glottolog that are no families: what stands there has no known relation to its neighbours."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """One language. None and empty mean unknown, never a guess."""

    tag: str
    script: str
    """ISO 15924."""
    iso: str | None = None
    """ISO 639-3 code of the variety that the table describes: `swh` for sw, `cmn` for zh-Hant."""
    lineage: tuple[str, ...] = ()
    """Branches from the family down, and last the language itself (by its glottocode; an isolate by its name)."""
    latitude: float | None = None
    """Degrees north, rounded to 0.1."""
    longitude: float | None = None
    """Degrees east, rounded to 0.1."""

    @property
    def family(self) -> str | None:
        """Top level of Glottolog; an isolate is its own family. None: not in the table."""
        return self.lineage[0] if self.lineage else None


@dataclass(frozen=True, slots=True)
class _Row:
    iso: str
    lineage: tuple[str, ...]
    latitude: float | None
    longitude: float | None


@lru_cache(maxsize=8192)
def language_metadata(code: str) -> Metadata:
    """All that is known of a language, by any usual code.

    A language in another script or region has the lineage and place of the language (`sr-Latn` those of sr, `pt-BR` those of pt), unless
    the table knows it by itself (`fa-AF`, Dari).

    Raises:
        LanguageError: it is no language. One that is merely not in the table has no lineage and no place.
    """
    language = describe_language(code)
    tag = language.tag
    parts = tag.split("-")
    without_script = "-".join(part for part in parts if len(part) != 4)
    table = _read_table()
    row = table.get(without_script) or table.get(parts[0])
    if row is None:
        return Metadata(tag, language.script)
    return Metadata(tag, language.script, row.iso, row.lineage, row.latitude, row.longitude)


@lru_cache(maxsize=1)
def metadata_source() -> str:
    """Where lineages and places come from, with the version: the first line of the table, recorded with results."""
    return _lines()[0].removeprefix("# ").removesuffix(".")


def _lines() -> list[str]:
    return files("optical_ray.languages").joinpath(TABLE).read_text(encoding="utf-8").splitlines()


@lru_cache(maxsize=1)
def _read_table() -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    lineage: list[str] = []
    for line in (line for line in _lines() if not line.startswith(("#", "depth\t"))):
        depth, node, tag, iso, latitude, longitude = (*line.split("\t"), "", "", "", "")[:6]
        lineage[int(depth) :] = [node]
        if tag:
            place = (float(latitude), float(longitude)) if latitude else (None, None)
            rows[tag] = _Row(iso or tag, tuple(lineage), *place)
    return rows
