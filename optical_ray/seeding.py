"""Every use of randomness has a name: seeds are derived from a root and a path, never from global state."""

import hashlib


def derive_seed(root: int, *path: str | int) -> int:
    """A 63-bit seed for one named use, e.g. `derive_seed(recipe.seed, "plan", epoch)`.

    The same root and path give the same seed in every process and Python version; different paths are independent.
    """
    text = "\x1f".join([str(root), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
