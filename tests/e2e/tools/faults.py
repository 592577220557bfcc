"""Calls that fail in a monitor which tests/e2e/tools/faulty.c is linked into."""

import errno
import mmap
import struct

import host

KINDS = {"memory": (0, errno.ENOMEM), "files": (1, errno.ENOSPC), "kernel": (2, errno.EPERM), "libraries": (3, errno.ENOMEM)}


class Faults:
    """struct control of faulty.c"""

    def __init__(self):
        path = f"{host.TMP}/fault"
        with open(path, "wb") as f:
            f.write(bytes(4096))
        with open(path, "r+b") as f:
            self.page = mmap.mmap(f.fileno(), 4096)

    def arm(self, kind, n):
        """From here on the n-th call of the kind fails; 0: none does."""
        number, code = KINDS[kind]
        self.page[0:32] = struct.pack("qqqq", number, n, code, 0)

    def disarm(self):
        """How many calls of the kind there were."""
        count = struct.unpack("q", self.page[24:32])[0]
        self.page[8:16] = bytes(8)
        return count
