"""Lets each call of the monitor fail once, on the way of each change: memory, files, kernel. The operator gets an error with a code,
and the host is as it was; or the change was done in spite of it, and then wholly, which neither answer nor audit log deny. The
monitor is one that tests/e2e/tools/faulty.c is linked into.

	crash_faults.py MOST STEP...		MOST: so many of the allocations of a change, 0: all; -: all of the monitor's own
						code, and LIBRARIES_MOST of those inside libraries"""

import re
import sys

import host
from crash_steps import STEPS, must
from faults import KINDS, Faults

LIBRARIES_MOST = 100


def most(kind):
    """0: all."""
    if kind not in ("memory", "libraries"):
        return 0
    if sys.argv[1] != "-":
        return int(sys.argv[1])
    return LIBRARIES_MOST if kind == "libraries" else 0


class Walk:
    """One change, with one call after the other failing."""

    def __init__(self, daemon, faults, name, change, back):
        self.daemon, self.faults, self.name, self.change, self.back = daemon, faults, name, change, back
        must(change())
        must(back())
        self.old = host.rested()
        must(change())
        self.new = host.rested()
        must(back())
        if host.settled(self.old) != self.old:
            raise SystemExit(f"FAIL {name}: without a fault: {host.difference(self.old, host.everything())}")

    def fail(self, kind, n):
        """Lets the n-th call of a kind fail. Returns whether there were so many, how it ended, and whether a restart had to clear
        away what was left."""
        arguments = self.change()
        self.faults.arm(kind, n)
        status, _, err = host.run(*arguments)
        reached = self.faults.disarm() >= n
        where = f"FAIL {self.name}, {kind}: call {n} failed, the change ended with {status}: {err}"
        if status and (not re.search(r"\[[a-z_]+\.[a-z_]+\]", err) or "[daemon.failed]" in err):
            raise SystemExit(f"{where}: no error that tells its code; log: {host.log_tail()}")
        if status and not reached:
            raise SystemExit(f"{where}: nothing failed; log: {host.log_tail()}")
        done = status == 0 or re.search(r"\b(done|removed|revoked|trusted), but\b", err) is not None
        expected = self.new if done else self.old
        host.released(expected, wait=0.25)
        now = host.everything()
        audited = host.load("audit", "--json", "--last", "1")["entries"][-1]["verdict"]
        if (audited == "done") != done:
            raise SystemExit(f"{where}: but the audit log says {audited}")
        restart = now != expected
        if restart:
            # Such as what could not be deleted after the change counted.
            self.daemon.stop()
            self.daemon.start()
            now = host.settled(expected)
        if now != expected:
            raise SystemExit(f"{where}: not the state that this tells: {host.difference(expected, now)}; log: {host.log_tail()}")
        if done:
            must(self.back())
        return reached, done, restart

    def every(self, kind):
        """How often it was refused."""
        arguments = self.change()
        self.faults.arm(kind, 0)
        must(arguments)
        total = self.faults.disarm()
        must(self.back())
        step = -(-total // most(kind)) if most(kind) else 1
        n, failed, refused, restarts = 1, 0, 0, 0
        while True:
            reached, done, restart = self.fail(kind, n)
            if not reached:
                break
            failed += 1
            refused += not done
            restarts += restart
            n += step
        if failed:
            print(f"ok {self.name}, {kind}: {failed} of {total} calls failed, each once: {refused} refused, "
                  f"{failed - refused} done in spite of it, {restarts} cleared away by a restart")
        return refused


def never_set(faults, change):
    """A parameter at its default is at its default again, not set to it."""
    old = host.rested()
    for n in range(1, 1000):
        faults.arm("kernel", n)
        status = host.run(*change())[0]
        if faults.disarm() < n:
            must(["remove", "test/crash"])
            must(["install", f"{host.TMP}/1.tar"])
            print(f"ok set, for the first time: {n - 1} calls failed, each once, and the default stayed")
            return
        now = host.everything()
        if status and now != old:
            raise SystemExit(f"FAIL set, for the first time: call {n} failed: {host.difference(old, now)}")


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
        if name == "set":
            never_set(faults, change)
        walk = Walk(daemon, faults, name, change, back)
        if not sum(walk.every(kind) for kind in KINDS):
            raise SystemExit(f"FAIL {name}: no fault was noticed")
    daemon.stop()


main()
