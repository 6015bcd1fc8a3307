"""Files that only their owner may read: private keys and the gateway's secret.

A private file that others may read is refused, not repaired: whoever could read it may have done so already.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_BYTES_MAX: Final = 64 * 1024  # the largest private key in use is under 8 KiB

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class PrivateFileError(Exception):
    """A private file is missing, too large, or open to others; the text says what to do."""


def read_private(path: Path) -> bytes:
    """Return a private file's bytes. Raises PrivateFileError when anybody but the owner may read or write it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PrivateFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        # The mode is asked of the open file, so that nobody can swap the file between the question and the reading.
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise PrivateFileError(f"{path}: is not a file")
        if mode & _OTHERS:
            raise PrivateFileError(f"{path}: others may use it (mode {stat.S_IMODE(mode):04o}); replace the key: 0600")
        data = os.read(descriptor, PRIVATE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(data) > PRIVATE_BYTES_MAX:
        raise PrivateFileError(f"{path}: is larger than any key")
    return data


def write_private(path: Path, data: bytes) -> None:
    """Write a new file with mode 0600, new folders with 0700. Raises FileExistsError: a key is never overwritten."""
    for folder in reversed(path.parents):  # one by one: `parents=True` would open those above to others
        folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
