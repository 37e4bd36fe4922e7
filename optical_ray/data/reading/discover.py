"""A source string -> its files, grouped into what is read together, with the language that their names state."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optical_ray.data.reading.chunks import Format
from optical_ray.data.reading.naming import COMPRESSIONS, SUFFIXES, TEXT_SUFFIX, code_in_path, code_of_pair, split_name, tag_of
from optical_ray.data.reading.places import FoundFile, has_wildcard, is_folder, is_remote, list_files, list_siblings, without_file_scheme
from optical_ray.data.reading.spec import PAIRS, TEXT, SourceSpec, printable
from optical_ray.errors import DataError
from optical_ray.languages.codes import ENGLISH

_ABOUT = frozenset(("readme", "license", "licence", "copying", "notice", "changelog"))
"""Stems of files about text: passed over where text is looked for in a folder or glob."""

_SUFFIXES_OF_OTHERS = re.compile(
    "sh|aux|bak|bib|bpe|cfg|cpp|css|dtd|err|iso|jar|key|lib|lst|lua|man|mod|npy|odt|orc|pem|png|ppt"
    "|pth|pub|rar|sav|sgm|sha|sig|spm|sum|tar|tex|tgz|ttl|vec|wav|xls|yml"
)
"""ISO 639 codes that as a suffix nearly always mean no language."""


@dataclass(frozen=True, slots=True)
class Group:
    """One file, or the two halves of a Moses pair."""

    format: Format
    files: tuple[FoundFile, ...]
    """Moses: the English half first."""
    code: str | None
    """The language that the path states, as written."""
    code_is_key: bool = False
    """It stands in a `lang=` folder."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one source."""

    groups: list[Group]
    name: str
    """Of its folder or file, when the user gives none."""
    licence: str | None
    """As a data set card or dataset_info.json beside the files states it."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Language as a name states it -> why that file is not read."""


def find_files(spec: SourceSpec) -> Found:
    """The files that a source string stands for.

    Raises:
        DataError: nothing is there, nothing of it is bitext (text), half of a Moses pair is missing, a file lies packed beside itself, or
            a name is not UTF-8.
    """
    found = _find(spec)
    files = [file for group in found.groups for file in group.files]
    for name in (found.name, *(file.path for file in files)):
        if (shown := printable(name)) != name:
            raise DataError(f"{shown}: its name is not UTF-8, and names stand in the manifest; rename it")
    _refuse_twins(dict.fromkeys(files))
    return found


def _find(spec: SourceSpec) -> Found:
    path = without_file_scheme(spec.path)
    of_prefix = _moses_of_prefix if spec.kind == "bitext" else _texts_of_prefix
    alone = [] if has_wildcard(path) else of_prefix(path, spec)
    if alone:
        return Found(alone, _default_name(path, alone, spec), None)
    files = list_files(path)
    is_file = len(files) == 1 and files[0].path == (path if is_remote(path) else os.path.abspath(path))
    root = path.rstrip("/") if not is_file and not has_wildcard(path) else ""
    base = _last_part(root) if root else ""
    below = f"{base}/" if spec.kind == "bitext" and code_of_pair(base) else ""  # a lone code may be a word: /home/my
    groups = [_alone(files[0], spec)] if is_file else _groups(files, spec)
    if not groups:
        raise DataError(_nothing_found(files, spec))
    groups = [_with_code(group, below, spec) for group in groups]
    return Found(groups, _default_name(path, groups, spec), _licence(files), _lone_halves(files, groups))


def _refuse_twins(files: Iterable[FoundFile]) -> None:
    """Refuse a file beside its packed copy: its rows would be read twice."""
    by_name: dict[str, FoundFile] = {}
    for file in files:
        unpacked = file.path if split_name(file.name).compression is None else file.path.rpartition(".")[0]
        twin = by_name.setdefault(unpacked, file)
        if twin is not file:
            raise DataError(f"{file.label}: the same file packed otherwise lies beside it ({twin.name}); keep one of the two")


def _lone_halves(files: Sequence[FoundFile], groups: Sequence[Group]) -> dict[str, str]:
    """What looks like a half of a Moses pair among pairs, and has no English one."""
    taken = {file.path for group in groups for file in group.files}
    if not any(group.format == "moses" for group in groups):
        return {}
    halves = ((half[1], file) for file in files if file.path not in taken and (half := _half(file)) is not None)
    return {code: f"no English half beside {file.relative}" for code, file in halves if not _SUFFIXES_OF_OTHERS.fullmatch(code)}


def _nothing_found(files: Sequence[FoundFile], spec: SourceSpec) -> str:
    suffixes = [suffix for suffix, format in SUFFIXES.items() if spec.kind == "bitext" or format != "tmx"]
    looked_for, last = f"{', '.join(suffixes)} (also with {', '.join(COMPRESSIONS)})", "Moses pairs NAME.en + NAME.sw"
    if spec.kind == "text":
        looked_for, last = f"{TEXT_SUFFIX}, {looked_for}", "files named by their language (NAME.sw)"
    hint = f"; {TEXT}" if spec.kind == "bitext" and any(_says_text(file) for file in files) else ""
    return f"{spec.path}: no {spec.kind} among its {len(files)} files; looked for {looked_for} and {last}; or say format={hint}"


def _says_text(file: FoundFile) -> bool:
    return split_name(file.name, "text").format == "text"


def _with_code(group: Group, below: str, spec: SourceSpec) -> Group:
    if group.code is not None:
        return group
    file = group.files[0]
    found = code_in_path(below + file.relative, file.path, spec.kind)
    return group if found is None else Group(group.format, group.files, *found)


def _alone(file: FoundFile, spec: SourceSpec) -> Group:
    """A file that the user named; its suffix may be anything when `format=` says what it is."""
    name = split_name(file.name, spec.kind)
    format = spec.format or name.format or ("jsonl" if name.stem.endswith(".json") else None)
    if spec.kind == "text":
        if format is None and _half(file) is None:
            raise DataError(f"{spec.path}: its name says no format; expected {TEXT_SUFFIX}, NAME.sw, {', '.join(SUFFIXES)}, or format=")
        return Group(_not_pairs(format or "text", file), (file,), None)
    if format is None or format == "moses":
        hint = f"; {TEXT}" if _says_text(file) else ""
        expected = f"{', '.join(SUFFIXES)}, a Moses pair (both halves), or format="
        raise DataError(f"{spec.path}: its name says no format; expected {expected}{hint}")
    return Group(format, (file,), None)


def _not_pairs(format: Format, file: FoundFile) -> Format:
    if format == "tmx":
        raise DataError(f"{file.label}: {PAIRS}")
    return format


def _groups(files: Sequence[FoundFile], spec: SourceSpec) -> list[Group]:
    """What a folder or glob holds; names that say no format are passed over."""
    pairs = _moses_pairs(_with_partners(files, spec)) if spec.kind == "bitext" and spec.format in (None, "moses") else []
    halves = {file.path for group in pairs for file in group.files}
    listed = _listed_arrow_files(files)
    groups = list(pairs)
    for file in files:
        format = split_name(file.name, spec.kind).format
        if spec.kind == "text":
            if file.name.partition(".")[0].lower() in _ABOUT:
                continue
            format = format or _text_by_name(file, spec)
        if file.path in halves or (spec.format is not None and format not in (None, spec.format)):
            continue
        if format == "arrow" and file.folder in listed and file.name not in listed[file.folder]:
            continue  # a cache that `datasets` left beside the data
        if format is None and has_wildcard(spec.path) and spec.format not in (None, "moses"):
            format = spec.format  # the user chose these files and said what they are
        if format is not None:
            groups.append(Group(_not_pairs(format, file) if spec.kind == "text" else format, (file,), None))
    return sorted(groups, key=lambda group: group.files[-1].relative)


def _text_by_name(file: FoundFile, spec: SourceSpec) -> Format | None:
    """`text` for a name that ends with its language."""
    half = _half(file) if spec.format in (None, "text") else None
    return None if half is None or _SUFFIXES_OF_OTHERS.fullmatch(half[1]) else "text"


def _texts_of_prefix(path: str, spec: SourceSpec) -> list[Group]:
    """NAME.en and NAME.sw of a local NAME that is no file itself; each is text of its own language."""
    if is_remote(path) or os.path.lexists(path) or spec.format not in (None, "text"):
        return []
    return [Group("text", (file,), half[1]) for file in list_siblings(path) if (half := _half(file)) is not None]


def _listed_arrow_files(files: Iterable[FoundFile]) -> dict[str, list[str]]:
    """Of each `save_to_disk` folder, the Arrow files that state.json lists.

    Raises:
        DataError: one of them is missing, or rows were selected without being written.
    """
    listed: dict[str, list[str]] = {}
    there = {file.relative for file in files}
    for file in files:
        if file.name != "state.json" or is_remote(file.path):
            continue
        try:
            state = json.loads(Path(file.path).read_text(encoding="utf-8"))
            names = [str(entry["filename"]) for entry in state["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another program's file of this name
        for name in names:
            if (f"{file.folder}/{name}" if file.folder else name) not in there:
                raise DataError(f"{file.label}: lists {name}, which is missing; copy the folder again")
        if state.get("_indices_data_files"):
            raise DataError(f"{file.label}: rows of this data set are selected by indices; call flatten_indices() and save_to_disk again")
        listed[file.folder] = names
    return listed


def _half(file: FoundFile) -> tuple[str, str] | None:
    """(path without language and compression, language as written) of what may be a half of a Moses pair."""
    stem, format, _ = split_name(file.name)
    prefix, dot, code = stem.rpartition(".")
    return (file.path[: len(file.path) - len(file.name)] + prefix, code) if dot and format is None and tag_of(code) else None


def _with_partners(files: Sequence[FoundFile], spec: SourceSpec) -> list[FoundFile]:
    """A glob may match one half only; the other is looked for beside it."""
    if not has_wildcard(spec.path):
        return list(files)
    there = {file.path: file for file in files}
    for prefix in dict.fromkeys(half[0] for file in files if (half := _half(file)) is not None):
        for sibling in list_siblings(prefix):
            half = _half(sibling)
            if half is not None and tag_of(half[1]) == ENGLISH:
                there.setdefault(sibling.path, sibling)
    return list(there.values())


def _moses_pairs(files: Sequence[FoundFile]) -> list[Group]:
    """Every foreign half with its English one; a half without an English one is not taken."""
    halves: dict[str, list[tuple[str, FoundFile]]] = {}
    for file in files:
        if (half := _half(file)) is not None:
            halves.setdefault(half[0], []).append((half[1], file))
    groups = []
    for prefix in sorted(halves):
        english = next((file for code, file in halves[prefix] if tag_of(code) == ENGLISH), None)
        if english is not None:
            _refuse_twins(file for _, file in halves[prefix])
            groups += [Group("moses", (english, file), code) for code, file in halves[prefix] if tag_of(code) != ENGLISH]
    return groups


def _moses_of_prefix(path: str, spec: SourceSpec) -> list[Group]:
    """The pairs of a prefix, or the pair that a half belongs to.

    Raises:
        DataError: the path is one half, or `format=moses` is said, and there is no pair.
    """
    name = path.rpartition("/")[2]
    if spec.format not in (None, "moses") or split_name(name).format is not None or is_folder(path):
        return []
    half = _half(FoundFile(path, name, path, 0, None))
    exists = False
    if half is not None:
        siblings = list_siblings(half[0])
        exists = any(sibling.name == name for sibling in siblings)
        pairs = _moses_pairs(siblings)
        if exists and tag_of(half[1]) != ENGLISH:
            pairs = [group for group in pairs if group.files[1].name == name]
        if exists and pairs:
            return pairs
    pairs = _moses_pairs(list_siblings(path))
    if pairs:
        return pairs
    if exists and half is not None:
        wanted = f"{half[0]}.sw" if tag_of(half[1]) == ENGLISH else f"{half[0]}.en"
        raise DataError(f"{path}: half of a Moses pair without the other; expected {wanted} beside it; or say format=, or kind=text")
    return []


def _default_name(path: str, groups: Sequence[Group], spec: SourceSpec) -> str:
    """The folder's name; of a file its name without suffixes; of a glob the folder before its first wildcard."""
    if has_wildcard(path):
        folder = re.split(r"[*?\[]", path)[0].rpartition("/")[0]
        return _last_part(folder)
    if groups[0].format == "moses" and not Path(path).is_dir():
        return _last_part((_half(groups[0].files[1]) or (path, ""))[0])
    return split_name(_last_part(path), spec.kind).stem


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] if is_remote(path) else Path(path).resolve().name


def _licence(files: Iterable[FoundFile]) -> str | None:
    """What the source states: `license` of dataset_info.json, or of the front matter of a data set card (README.md)."""
    for file in files:
        if is_remote(file.path) or file.name not in ("dataset_info.json", "README.md"):
            continue
        try:
            text = Path(file.path).read_text(encoding="utf-8")
            if file.name == "README.md":
                matter = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
                found = re.search(r"^license:[ \t]*(?:\n-[ \t]*)?([\w.+-]+)[ \t]*$", matter[1], re.MULTILINE) if matter else None
                licence = found[1] if found else None
            else:
                licence = json.loads(text).get("license")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(licence, str) and licence.strip():
            return " ".join(licence.split())
    return None
