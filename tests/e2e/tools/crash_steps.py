"""Kills the monitor at every system call of each change that an operator can ask for, starts the daemon again, and compares
the host with what it was before and what it is after the same change without a kill: it must be one of the two, in all
its places; and the new one, if the operator was told that it was done.

	crash_steps.py CALLS STEP...		CALLS: changes, all or each, as kill_at.c has them"""

import os
import select
import subprocess
import sys

import host

KILL_AT = f"{os.environ['BUILD']}/tests/bin/kill_at"
TMP = host.TMP
daemon = host.Daemon()


def signer(name):
    listed = host.load("trust", "list", "--json")["signers"]
    return next((s["signer"] for s in listed if name in s["subject"]), "0" * 64)


# Name, change, and what undoes it: arguments of obsload.
STEPS = [
    ("install", lambda: ["install", f"{TMP}/1.tar"], lambda: ["remove", "test/crash"]),
    ("trust_add", lambda: ["trust", "add", f"{TMP}/other/signer.pem", "--names", "other/*"],
         lambda: ["trust", "remove", signer("other")]),
    ("trust_remove", lambda: ["trust", "remove", signer("other")],
         lambda: ["trust", "add", f"{TMP}/other/signer.pem", "--names", "other/*"]),
    ("remove", lambda: ["remove", "test/crash"], lambda: ["install", f"{TMP}/1.tar"]),
    ("upgrade", lambda: ["install", f"{TMP}/2.tar"], lambda: ["install", "--allow-downgrade", f"{TMP}/1.tar"]),
    ("set", lambda: ["set", "test/crash", "every=7"], lambda: ["set", "test/crash", "every=1"]),
    ("revoke", lambda: ["revoke", f"{TMP}/signer/signer.pem"], lambda: ["revoke", f"{TMP}/signer/signer.pem", "--undo"]),
]


def must(arguments):
    status, _, err = host.run(*arguments)
    if status:
        raise SystemExit(f"FAIL {' '.join(arguments)}: ended with {status}: {err}; log: {host.log_tail()}")


def killed_at(n, arguments):
    """The change with a kill at the n-th call: whether the monitor was killed, at which call, and whether the operator was
    told that all is well."""
    monitor = host.load("status", "--json")["daemon"]["pid"]
    with subprocess.Popen([KILL_AT, str(monitor), str(n), sys.argv[1]], stdout=subprocess.PIPE, text=True) as killer:
        assert killer.stdout.readline() == "ready\n"
        told = host.run(*arguments)[0] == 0
        # The answer may be out before the last calls of the change.
        if not select.select([killer.stdout], [], [], 0.02)[0]:
            killer.terminate()
        verdict, call = killer.stdout.read().split()[:2]
    return verdict == "killed", int(call), told


def walk(name, change, back):
    # Twice: what only ever grows (the highest serial) has grown then.
    must(change())
    must(back())
    old = host.rested()
    must(change())
    new = host.rested()
    must(back())
    again = host.settled(old)
    if old != again or old == new:
        raise SystemExit(f"FAIL {name}: without a kill: {host.difference(old, new)}, and back {host.difference(old, again)}")
    seen = {"old": 0, "new": 0}
    n = 1
    while True:
        killed, call, told = killed_at(n, change())
        if killed:
            daemon.kill()
            daemon.start()
        now = host.settled(old, new)
        which = "old" if now == old else "new" if now == new else None
        if which is None or (told and which == "old"):
            raise SystemExit(f"FAIL {name}: kill at call {n} (number {call}), told {told}: neither old nor new: from the old "
                             f"{host.difference(old, now)}, from the new {host.difference(new, now)}; the daemon's log: "
                             f"{host.log_tail()}")
        seen[which] += 1
        if which != "old":
            must(back())
        if not killed:
            break
        n += 1
    if not seen["old"] or not seen["new"]:
        raise SystemExit(f"FAIL {name}: of {n - 1} calls all the same: {seen}")
    print(f"ok {name}: killed at each of {n - 1} calls: {seen['old']} times the old state, {seen['new']} the new one")


def main():
    sys.stdout.reconfigure(line_buffering=True)
    daemon.start()
    must(["trust", "add", f"{TMP}/signer/signer.pem", "--names", "test/*"])
    for name, change, back in STEPS:
        if name not in sys.argv[2:]:
            continue
        if name == "trust_remove":
            must(["trust", "add", f"{TMP}/other/signer.pem", "--names", "other/*"])
        if name in ("remove", "upgrade", "set", "revoke"):
            must(["install", "--allow-downgrade", f"{TMP}/1.tar"])
        walk(name, change, back)
    daemon.stop()


if __name__ == "__main__":
    main()
