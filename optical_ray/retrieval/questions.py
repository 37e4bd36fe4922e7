"""Names of what a query asks and of what it is looked for among, stored in its row: equal names, and only they, make two rows a pair.

Ids and folder names are a user's; two data sets, or two versions of one, may share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping


def name_question(text: str, language: str, grades: Mapping[str, int]) -> int:
    """63 bits, above 0, of a query and its judgements.

    Args:
        text: As it was asked, before any translation.
        language: Canonical tag.
        grades: Document id -> grade; those of 0 and below say the same as none.
    """
    return _name([language, text, *(f"{name}\t{grade}" for name, grade in sorted(grades.items()) if grade > 0)])


def name_candidates(parts: Iterable[str]) -> int:
    """63 bits, above 0, of candidates, named by their texts or by the fingerprint of their collection."""
    return _name(parts)


def _name(parts: Iterable[str]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big") + content)
    return (int.from_bytes(digest.digest(), "big") >> 1) or 1
