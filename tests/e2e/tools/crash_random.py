"""Kills worker, monitor, or everything, at random times while events flow.

	crash_random.py KILLS SEED"""

import os
import random
import signal
import sys
import time

import flow
import host

KILLS, SEED = int(sys.argv[1]), int(sys.argv[2])
# Whoever dies often is started later each time; the daemon's next life begins without waiting.
KILLS_A_LIFE = 4
RATE = 2000


def report(good, name, why):
    print(f"ok {name} ({why})" if good else f"FAIL {name}: {why}")


def other_worker(before):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        now = host.load("status", "--json", check=False)
        if now and now["daemon"]["worker_pid"] not in (0, before):
            return
        time.sleep(0.02)
    raise SystemExit(f"FAIL worker: does not come back; the daemon's log: {host.log_tail()}")


def kill_one(daemon, what):
    status = daemon.wait()["daemon"]
    if what == "worker":
        os.kill(status["worker_pid"], signal.SIGKILL)
        other_worker(status["worker_pid"])
    elif what == "monitor":
        os.kill(status["pid"], signal.SIGKILL)
        other_worker(status["worker_pid"])
    else:
        daemon.kill()
        daemon.start()
    return what


def main():
    sys.stdout.reconfigure(line_buffering=True)
    dice = random.Random(SEED)
    daemon = host.Daemon()
    daemon.start()
    host.load("trust", "add", f"{host.TMP}/signer/signer.pem", "--names", "test/*")
    host.load("install", f"{host.TMP}/flow.tar")
    ids = [p["id"] for p in host.load("status", "--json")["bundles"][0]["programs"]]
    reader = flow.Reader()
    producer = flow.Producer(RATE)
    start = time.monotonic()
    gone = 0
    for n in range(KILLS):
        time.sleep(dice.random() * 0.3)
        kill_one(daemon, dice.choice(["worker", "monitor", "everything"]))
        gone += ids != [p["id"] for p in daemon.wait()["bundles"][0]["programs"]]
        if n % KILLS_A_LIFE == KILLS_A_LIFE - 1:
            daemon.stop()
            daemon.start()
    took = time.monotonic() - start
    made = producer.stop()
    reader.wait_for(made)
    time.sleep(0.5)
    missing = made - len(reader.numbers)
    twice = sum(count - 1 for count in reader.numbers.values())
    report(gone == 0, "programs_stay_attached", f"{KILLS} kills, seed {SEED}, {took:.0f} s, {gone} times others ran")
    report(missing == 0 and not reader.lost, "every_event_arrives",
           f"{made} made, {missing} missing, {twice} came twice, told as lost: {dict(reader.lost)}")

    # Without anybody who reads, the ring fills: what then does not arrive is counted.
    reader.stop()
    daemon.kill()
    more = 60000
    flow.produce(made, more)
    daemon.start()
    reader = flow.Reader()
    end = time.monotonic() + 30
    while True:
        counted = host.load("status", "--json")["bundles"][0]["lost"]["ring"]
        arrived = len([n for n in reader.numbers if n >= made])
        if counted == reader.lost["ring"] == more - arrived or time.monotonic() > end:
            break
        time.sleep(0.1)
    report(0 < counted == more - arrived == reader.lost["ring"], "what_the_ring_had_no_room_for_is_counted",
           f"{more} made, {arrived} arrived, {counted} counted, {reader.lost['ring']} told")
    reader.stop()
    daemon.stop()


main()
