"""Local paths and URIs alike: list, describe, open. Local files are opened by Python, `scheme://` by pyarrow or fsspec."""

from __future__ import annotations

import glob
import importlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs

from optical_ray.artifacts import MANIFEST, read_manifest
from optical_ray.errors import ArtifactError, DataError

_SCHEME = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?=.)")
_WILDCARD = re.compile(r"[*?\[]")
_HIDDEN = (".", "_")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a source."""

    path: str
    """Absolute, or a URI."""
    relative: str
    """Below the source's folder, with `/`; a file given alone: its name."""
    label: str
    """As the user would write it, for messages."""
    size: int
    """Bytes."""
    changed_ns: int | None
    """Time of change; None where a remote store does not tell it. Local files are known by their bytes, and by this while they are read."""

    @property
    def folder(self) -> str:
        """Of `relative`; empty at the top."""
        return self.relative.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Last part."""
        return self.relative.rpartition("/")[2]


def is_remote(path: str) -> bool:
    """True for a URI of any scheme but file://."""
    found = _SCHEME.match(path)
    return found is not None and found["scheme"] != "file"


def without_file_scheme(path: str) -> str:
    """`file:///x` -> `/x`; anything else as it is.

    Raises:
        DataError: a file:// URI of another host, or one that is none.
    """
    if not path.startswith("file://"):
        return os.path.expanduser(path)
    try:
        return str(pafs.FileSystem.from_uri(path)[1])
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: no URI of a local file ({reason(error)}); write file:///PATH, or the path alone") from None


def has_wildcard(path: str) -> bool:
    """True for a glob; a path that exists is none, whatever its letters."""
    return _WILDCARD.search(path) is not None and (is_remote(path) or not os.path.lexists(path))


def list_files(path: str) -> list[FoundFile]:
    """The files that a source's path stands for, in order of their relative name: itself, those below a folder, or those a glob matches.

    Names that begin with `.` or `_` are left out below a folder. Links are followed.

    Raises:
        DataError: nothing is there (the nearest folder that exists is named), or it may not be read.
    """
    try:
        found = _list_remote(path) if is_remote(path) else _list_local(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be listed ({reason(error)}); check the path and who may read it") from None
    if has_wildcard(path) and not found:
        raise DataError(f"{path}: no file matches this pattern; check it (quote it, so that the shell does not)")
    return sorted(found, key=lambda file: file.relative)


def list_siblings(path: str) -> list[FoundFile]:
    """The files whose path begins with `path` and goes on with a dot, in the same folder; none where there is no such folder."""
    folder, _, prefix = path.rpartition("/")
    try:
        if is_remote(path):
            siblings = _list_remote(folder, recursive=False) if is_remote(folder) else []  # a bucket has none
        else:
            names = sorted(os.listdir(folder or "."))
            siblings = [_local_file(os.path.join(folder, name), name) for name in names if os.path.isfile(os.path.join(folder, name))]
    except (OSError, pa.ArrowException, DataError):
        return []
    return [file for file in siblings if file.relative.startswith(f"{prefix}.")]


def is_folder(path: str) -> bool:
    """True for a folder that exists."""
    if not is_remote(path):
        return os.path.isdir(path)
    filesystem, inner = _filesystem(path)
    try:
        return bool(filesystem.get_file_info(inner).type == pafs.FileType.Directory)
    except (OSError, pa.ArrowException):
        return False  # listing it says why


def _list_local(path: str) -> list[FoundFile]:
    if has_wildcard(path):
        base = os.path.dirname(path[: _WILDCARD.search(path).start()])  # type: ignore[union-attr]  # it has one
        matches = [match for match in glob.glob(path, recursive=True) if os.path.isfile(match)]
        return [_local_file(match, os.path.relpath(match, base or ".")) for match in matches]
    if not os.path.lexists(path):
        nearest = next(parent for parent in Path(path).absolute().parents if parent.exists())
        raise DataError(f"{path}: no such file or folder; {nearest} is the nearest that exists")
    if not os.path.isdir(path):
        return [_local_file(path, os.path.basename(path))]
    found: list[FoundFile] = []
    been: set[str] = set()

    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in been:  # a link that leads back up
            folders.clear()
            continue
        been.add(real)
        if _is_corpus(folder, names):
            if folder == path:
                raise DataError(f"{path}: is a corpus, not a source of one; train on it with corpus.path, or name what it was built from")
            folders.clear()  # one that was built beside its sources
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        found += [
            _local_file(file, os.path.relpath(file, path))
            for name in names
            if not name.startswith(_HIDDEN) and os.path.isfile(file := os.path.join(folder, name))
        ]
    return found


def _local_file(path: str, relative: str) -> FoundFile:
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        kind = "pipe" if stat.S_ISFIFO(state.st_mode) else "socket" if stat.S_ISSOCK(state.st_mode) else "device"
        raise DataError(f"{path}: is a {kind}, expected a file: sources are read more than once; write it to a file first")
    if state.st_size == 0 and _has_bytes(path):
        raise DataError(f"{path}: is made up by the system as it is read (/proc), expected a file; write it to a file first")
    return FoundFile(os.path.abspath(path), relative.replace(os.sep, "/"), path, state.st_size, state.st_mtime_ns)


def _has_bytes(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(1) != b""
    except OSError:
        return False  # who opens it to read it says why not


def check_unchanged(files: Iterable[FoundFile]) -> None:
    """Refuse files that were written to since they were found: what was read is not what the corpus is named after.

    Raises:
        DataError: a local file has another size or time of change, or is gone.
    """
    for file in files:
        if is_remote(file.path):
            continue
        try:
            state = os.stat(file.path)
        except OSError as error:
            raise DataError(f"{file.label}: vanished while it was read ({reason(error)}); put it back and run again") from None
        if (state.st_size, state.st_mtime_ns) != (file.size, file.changed_ns):
            raise DataError(f"{file.label}: was changed while it was read; run again when nothing writes to it")


def _is_corpus(folder: str, names: Iterable[str]) -> bool:
    if MANIFEST not in names:
        return False
    try:
        return bool(read_manifest(Path(folder)).get("kind") == "corpus")
    except ArtifactError:  # another program's file of this name
        return False


def _list_remote(path: str, recursive: bool = True) -> list[FoundFile]:
    pattern = None
    base = path
    if has_wildcard(path):
        pattern = re.compile(glob_to_regex(path))
        base = path[: _WILDCARD.search(path).start()].rpartition("/")[0]  # type: ignore[union-attr]  # it has one
    filesystem, inner = _filesystem(base)
    root = filesystem.get_file_info(inner)
    if root.type == pafs.FileType.NotFound:
        raise DataError(f"{base}: no such file or folder; check the URI")
    if root.type == pafs.FileType.File:
        return [FoundFile(base, root.base_name, base, root.size or 0, root.mtime_ns)]
    found = []
    inner = inner.rstrip("/")
    for info in filesystem.get_file_info(pafs.FileSelector(inner, recursive=recursive)):
        relative = info.path.lstrip("/").removeprefix(inner.lstrip("/")).lstrip("/")
        if info.type != pafs.FileType.File or any(part.startswith(_HIDDEN) for part in PurePosixPath(relative).parts):
            continue
        full = f"{base.rstrip('/')}/{relative}"
        if pattern is None or pattern.fullmatch(full):
            found.append(FoundFile(full, relative, full, info.size or 0, info.mtime_ns))
    return found


def glob_to_regex(pattern: str) -> str:
    """`*` and `?` stay inside a part of the path, `**/` crosses any number of them, `[...]` is a choice of letters."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        pieces.get(part, part.replace("[!", "[^") if part.startswith("[") and len(part) > 1 else re.escape(part))
        for part in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|[^*?\[]+|\[", pattern)
    )


@lru_cache(maxsize=16)
def _connect(scheme: str, authority: str) -> tuple[pafs.FileSystem, Callable[[str], str]]:
    """The file system of a host or bucket, connected once, and how it spells a URI."""
    root = f"{scheme}://{authority}"
    try:
        filesystem, prefix = pafs.FileSystem.from_uri(root)
        return filesystem, lambda uri: prefix.rstrip("/") + uri.removeprefix(root)
    except (pa.ArrowInvalid, NotImplementedError):  # a scheme that pyarrow does not know
        pass
    try:
        fsspec: Any = importlib.import_module("fsspec")
        other = fsspec.filesystem(scheme)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{root}: cannot be opened ({reason(error)}); install what fsspec needs for {scheme}://, or copy the data here"
        ) from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(other)), other._strip_protocol


def _filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a URI, and the path that it knows the file by."""
    found = _SCHEME.match(uri)
    assert found is not None, f"not a URI: {uri}"
    filesystem, spell = _connect(found["scheme"], uri[found.end() :].partition("/")[0])
    return filesystem, spell(uri)


@contextmanager
def open_file(path: str, label: str) -> Iterator[BinaryIO]:
    """A file open for reading at any place.

    Raises:
        DataError: it is missing or may not be read.
    """
    try:
        if is_remote(path):
            filesystem, inner = _filesystem(path)
            stream: Any = filesystem.open_input_file(inner)
        else:
            stream = open(path, "rb")  # noqa: SIM115  # closed below; pyarrow's own is no faster
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{label}: cannot be opened ({reason(error)}); check the path and who may read it") from None
    with stream:
        yield stream


def reason(error: Exception) -> str:
    """The first line of what a library says; of an error of the system its words alone, since ours name the file."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.partition("\n")[0] or type(error).__name__
