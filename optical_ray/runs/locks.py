"""Who is at work on a run folder: told from the file locks that drivers and trials hold, without disturbing them."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


def is_held(path: Path) -> bool | None:
    """Whether some process holds the lock of a lock file; None where the file system cannot tell.

    Asked for as a reader and given back at once, so whoever wants the lock in that moment may find it taken for some microseconds.
    A lock file is never made: one that is not there is held by nobody.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK) else None
    finally:
        os.close(descriptor)  # gives the lock back
    return False
