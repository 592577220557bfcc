"""Upgrades in a row: nothing of the one before is left, in the kernel, on the disk, in the daemon's processes; and while events
flow, none is missed.

	upgrades.py COUNT		an even number: the last one is back at the first serial"""

import os
import sys
import time

import flow
import host

COUNT = int(sys.argv[1])
WARM = 4
RATE = 2000
FLOWING = 100
# What malloc and the kernel's statistics may keep, however many upgrades there are.
SLACK_KIB = 4096


def report(good, name, why, memory=False):
    if memory and host.INSTRUMENTED:
        print(f"SKIP {name}: memory is the sanitizer's: {why}")
        return
    print(f"ok {name} ({why})" if good else f"FAIL {name}: {why}")


def must(*arguments):
    status, _, err = host.run(*arguments)
    if status:
        raise SystemExit(f"FAIL {' '.join(arguments)}: ended with {status}: {err}; log: {host.log_tail()}")


def upgrade(n, name=""):
    """To serial 2 and back to 1: the same way for the loader."""
    must("install", "--allow-downgrade", f"{host.TMP}/{name}{2 - n % 2}.tar")


def process(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        found = dict(line.split(":") for line in f.readlines()[1:])
    private = sum(int(found[key].split()[0]) for key in ("Private_Clean", "Private_Dirty"))
    return len(os.listdir(f"/proc/{pid}/fd")), private


def daemon_size():
    status = host.load("status", "--json")["daemon"]
    return process(status["pid"]), process(status["worker_pid"])


def main():
    sys.stdout.reconfigure(line_buffering=True)
    if COUNT % 2:
        raise SystemExit(f"FAIL count: {COUNT} is odd")
    daemon = host.Daemon()
    daemon.start()
    must("trust", "add", f"{host.TMP}/signer/signer.pem", "--names", "test/*")
    must("install", f"{host.TMP}/1.tar")
    for n in range(WARM):
        upgrade(n)
    old = host.rested()
    before = daemon_size()
    start = time.monotonic()
    for n in range(COUNT):
        upgrade(n)
    took = time.monotonic() - start
    now = host.settled(old)
    after = daemon_size()
    report(now == old, "upgrades_leave_nothing_on_the_host", f"{COUNT} in {took:.1f} s: {host.difference(old, now)}")
    report(all(a[0] <= b[0] + 2 for a, b in zip(after, before)), "upgrades_leave_no_descriptor",
           f"monitor {before[0][0]} to {after[0][0]}, worker {before[1][0]} to {after[1][0]}")
    report(all(a[1] <= b[1] + SLACK_KIB for a, b in zip(after, before)), "upgrades_leave_no_memory",
           f"monitor {before[0][1]} to {after[0][1]} KiB, worker {before[1][1]} to {after[1][1]} KiB", memory=True)
    must("remove", "test/crash")

    # While events flow. For a moment both serials are attached, and each event is told from one of them.
    must("install", f"{host.TMP}/flow1.tar")
    reader = flow.Reader()
    while not reader.connections:
        time.sleep(0.01)
    time.sleep(0.3)
    producer = flow.Producer(RATE)
    for n in range(min(COUNT, FLOWING)):
        time.sleep(0.1)
        upgrade(n, "flow")
    made = producer.stop()
    reader.wait_for(made)
    twice = sum(count - 1 for count in reader.numbers.values())
    report(len(reader.numbers) == made and twice == 0 and not reader.lost, "upgrades_tell_each_event_once",
           f"{made} made, {len(reader.numbers)} arrived, {twice} came twice, lost: {dict(reader.lost)}")
    reader.stop()
    daemon.stop()


main()
