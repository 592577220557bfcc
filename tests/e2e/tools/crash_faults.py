"""Lets each call of the monitor's own code fail once, on the way of each change: memory, files, kernel. The operator gets an
error with a code, and the host is as it was; or the change was done in spite of it, and then wholly. The monitor is one that
tests/e2e/tools/faulty.c is linked into.

	crash_faults.py MOST STEP...		MOST: so many of the allocations of a change, 0: all"""

import errno
import mmap
import re
import struct
import sys

import host
from crash_steps import STEPS, must

KINDS = {"memory": (0, errno.ENOMEM), "files": (1, errno.ENOSPC), "kernel": (2, errno.EPERM)}
MOST = int(sys.argv[1])


class Faults:
    """struct control of faulty.c"""

    def __init__(self):
        path = f"{host.TMP}/fault"
        with open(path, "wb") as f:
            f.write(bytes(4096))
        with open(path, "r+b") as f:
            self.page = mmap.mmap(f.fileno(), 4096)

    def arm(self, kind, n):
        number, code = KINDS[kind]
        self.page[0:32] = struct.pack("qqqq", number, n, code, 0)

    def disarm(self):
        count = struct.unpack("q", self.page[24:32])[0]
        self.page[8:16] = bytes(8)
        return count


def walk(daemon, faults, name, change, back):
    must(change())
    must(back())
    old = host.rested()
    must(change())
    new = host.rested()
    must(back())
    if host.settled(old) != old:
        raise SystemExit(f"FAIL {name}: without a fault: {host.difference(old, host.everything())}")
    refused = 0
    for kind in KINDS:
        counts = {"refused": 0, "done": 0, "restart": 0}
        arguments = change()
        faults.arm(kind, 0)
        must(arguments)
        total = faults.disarm()
        must(back())
        every = -(-total // MOST) if kind == "memory" and MOST else 1
        n = 1
        while True:
            arguments = change()
            faults.arm(kind, n)
            status, _, err = host.run(*arguments)
            reached = faults.disarm() >= n
            where = f"FAIL {name}, {kind}: call {n} failed, the change ended with {status}: {err}"
            if status and not re.search(r"\[[a-z_]+\.[a-z_]+\]", err):
                raise SystemExit(f"{where}: no error that tells its code; log: {host.log_tail()}")
            now = host.settled(new if status == 0 else old, wait=0.25)
            if now != (new if status == 0 else old):
                # Such as what could not be deleted after the change counted.
                daemon.stop()
                daemon.start()
                now = host.settled(old, new)
                counts["restart"] += 1
            if now not in (old, new) or (status == 0 and now != new):
                raise SystemExit(f"{where}: neither the old state nor the new: from the old {host.difference(old, now)}, from "
                                 f"the new {host.difference(new, now)}; log: {host.log_tail()}")
            counts["refused" if now == old else "done"] += 1
            if now == new:
                must(back())
            if not reached:
                break
            n += every
        refused += counts["refused"]
        if n > 1:
            print(f"ok {name}, {kind}: {sum(counts.values()) - counts['restart'] - 1} of {total} calls failed, each once: {counts['refused']} refused, "
                  f"{counts['done']} done in spite "
                  f"of it, {counts['restart']} cleared away by a restart")
    if not refused:
        raise SystemExit(f"FAIL {name}: no fault was noticed")


def main():
    sys.stdout.reconfigure(line_buffering=True)
    faults = Faults()
    daemon = host.Daemon()
    daemon.start()
    must(["trust", "add", f"{host.TMP}/signer/signer.pem", "--names", "test/*"])
    for name, change, back in STEPS:
        if name not in sys.argv[2:]:
            continue
        if name == "trust_remove":
            must(["trust", "add", f"{host.TMP}/other/signer.pem", "--names", "other/*"])
        if name in ("remove", "upgrade", "set", "revoke"):
            must(["install", "--allow-downgrade", f"{host.TMP}/1.tar"])
        walk(daemon, faults, name, change, back)
    daemon.stop()


main()
