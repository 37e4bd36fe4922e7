"""Tiny wheels and bitext folders, made in the test."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.data.wheels import PinnedWheel, Role


def build_mo(entries: Mapping[str, str], charset: str = "utf-8", order: str = "<") -> bytes:
    """A compiled gettext catalog, written from the format's description; `order` is struct's byte order."""
    header = f"Content-Type: text/plain; charset={charset}\nPlural-Forms: nplurals=2; plural=(n != 1);\n"
    pairs = sorted((key.encode(charset), value.encode(charset)) for key, value in {"": header, **entries}.items())
    ids_at, texts_at = 28, 28 + 8 * len(pairs)
    at, tables, blob = 28 + 16 * len(pairs), [b"", b""], b""
    for side in (0, 1):
        for pair in pairs:
            tables[side] += struct.pack(f"{order}2I", len(pair[side]), at + len(blob))
            blob += pair[side] + b"\0"
    return struct.pack(f"{order}7I", 0x950412DE, 0, len(pairs), ids_at, texts_at, 0, at) + tables[0] + tables[1] + blob


def build_wheel(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip file with a fixed date, so that equal members give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return path


def build_pip_wheel(folder: Path, name: str, members: Mapping[str, bytes], role: Role = "catalog", version: str = "1.0") -> PinnedWheel:
    """A wheel that pip itself accepts, and its pin."""
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = build_wheel(folder / file, {**members, **metadata})
    return PinnedWheel(name, version, file, hashlib.sha256(path.read_bytes()).hexdigest(), "MIT", role)


def write_bitext(folder: Path, languages: Mapping[str, list[tuple[str | None, str | None]]]) -> Path:
    """lang=<code>/part-0.parquet with `lang` both a column and a key of the path, as real folders have it."""
    for code, rows in languages.items():
        target = folder / f"lang={code}"
        target.mkdir(parents=True)
        columns = {"lang": [code] * len(rows), "english": [english for english, _ in rows], "text": [text for _, text in rows]}
        pq.write_table(pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns])), target / "part-0.parquet")
    return folder


@pytest.fixture
def mo() -> Callable[..., bytes]:
    return build_mo


@pytest.fixture
def wheel() -> Callable[..., Path]:
    return build_wheel


@pytest.fixture
def pip_wheel() -> Callable[..., PinnedWheel]:
    return build_pip_wheel


@pytest.fixture
def bitext() -> Callable[..., Path]:
    return write_bitext


@pytest.fixture(scope="session")
def mo_of() -> Callable[..., bytes]:
    """`mo` for property tests, which want fixtures that live longer than one example."""
    return build_mo
