"""Upgrades that fail while events flow: at the verifier, and at each call for files and to the kernel. The old serial runs on, and each
event is told, once; so it is where the upgrade was done in spite of it. The monitor is one that faulty.c is linked into."""

import sys
import time

import flow
import host
from faults import Faults

RATE = 2000
REFUSED_BY_VERIFIER = 5


def report(good, name, why):
    print(f"ok {name} ({why})" if good else f"FAIL {name}: {why}")


def running():
    """The serial that runs, and its programs."""
    bundle = host.load("status", "--json")["bundles"][0]
    return bundle["serial"], [p["id"] for p in bundle["programs"]]


def fail_each(faults, kind):
    """Upgrades to whichever of the two serials does not run, with one call after the other failing."""
    counts = {"refused": 0, "done": 0, "wrong": []}
    n = 1
    while True:
        before = running()
        faults.arm(kind, n)
        status, _, err = host.run("install", "--allow-downgrade", f"{host.TMP}/flow{3 - before[0]}.tar")
        reached = faults.disarm() >= n
        now = running()
        done = status == 0 or "done, but" in err
        if (now == before) == done or (done and now[0] == before[0]) or (status and not reached):
            counts["wrong"].append(f"call {n}: {before} to {now}, {status}: {err}")
        if not reached:
            break
        counts["done" if done else "refused"] += 1
        n += 1
    report(counts["refused"] and not counts["wrong"], f"upgrade_failing_at_{kind}_leaves_the_old_one",
           f"{counts['refused']} refused, {counts['done']} done in spite of it; wrong: {counts['wrong'][:3]}")


def main():
    sys.stdout.reconfigure(line_buffering=True)
    faults = Faults()
    daemon = host.Daemon()
    daemon.start()
    host.load("trust", "add", f"{host.TMP}/signer/signer.pem", "--names", "test/*")
    host.load("install", f"{host.TMP}/flow1.tar")
    reader = flow.Reader()
    while not reader.connections:
        time.sleep(0.01)
    time.sleep(0.3)
    producer = flow.Producer(RATE)
    before = running()
    ends = [host.run("install", f"{host.TMP}/broken.tar") for _ in range(REFUSED_BY_VERIFIER)]
    report(all(status == 17 and "[kernel.verifier]" in err for status, _, err in ends) and running() == before,
           "upgrade_that_the_verifier_refuses_leaves_the_old_one", f"{len(ends)} times: {ends[0][2].splitlines()[0]}")
    for kind in ("files", "kernel"):
        fail_each(faults, kind)
    made = producer.stop()
    reader.wait_for(made)
    twice = sum(count - 1 for count in reader.numbers.values())
    report(len(reader.numbers) == made and twice == 0 and not reader.lost, "failing_upgrades_tell_each_event_once",
           f"{made} made, {len(reader.numbers)} arrived, {twice} came twice, lost: {dict(reader.lost)}")
    reader.stop()
    daemon.stop()


main()
