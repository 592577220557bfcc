"""Readers of every bad kind beside a good one, while events flow: the good one gets all, the bad ones are told what they lost,
and the worker's memory stays within what obsload(8) states."""

import collections
import json
import socket
import sys
import threading
import time

import flow
import host

RATE = 4000
SUBSCRIBERS = 64
NEVER, SLOW, FLOOD, HALF = 40, 10, 4, 8
CONNECTIONS = 10000
STATED_MIB = 117
REQUEST = b'{"events":["flow.*"]}\n'


def report(good, name, why, memory=False):
    if memory and host.INSTRUMENTED:
        print(f"SKIP {name}: memory is the sanitizer's: {why}")
        return
    print(f"ok {name} ({why})" if good else f"FAIL {name}: {why}")


def connect(request):
    s = socket.socket(socket.AF_UNIX)
    s.connect(flow.EVENTS)
    s.sendall(request)
    return s


def resident_mib():
    """Of the worker, in private pages: rings are the kernel's."""
    pid = host.load("status", "--json")["daemon"]["worker_pid"]
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        found = dict(line.split(":") for line in f.readlines()[1:])
    return sum(int(found[key].split()[0]) for key in ("Private_Clean", "Private_Dirty")) / 1024


def a_byte_a_second(s, stop, begun):
    rest = b""
    s.settimeout(1)
    while not stop.is_set():
        rest += s.recv(1)
        stop.wait(1)
    begun.append((s, rest))


def drain(s, made, rest=b""):
    """Everything that is still to come, until seen and lost make up what there was, or it is quiet."""
    count = collections.Counter()
    s.settimeout(10)
    try:
        while count["seen"] + count["subscriber"] < made and (chunk := s.recv(1 << 20)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["event"] == "flow.call":
                    count["seen"] += 1
                elif event["event"] == "obs.lost":
                    count[event["source"]] += event["count"]
    except TimeoutError:
        pass
    return count


def flood(refused):
    """100 MB where a request of at most 64 KiB is due."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(flow.EVENTS)
    s.settimeout(30)
    try:
        for _ in range(100):
            s.sendall(b" " * 1000000)
    except OSError:
        pass
    try:
        refused.append(b"request.too_large" in s.recv(65536))
    except OSError:
        refused.append(False)


def come_and_go():
    for n in range(CONNECTIONS):
        s = socket.socket(socket.AF_UNIX)
        s.connect(flow.EVENTS)
        if n % 2:
            s.sendall(REQUEST)
        s.close()


def main():
    sys.stdout.reconfigure(line_buffering=True)
    daemon = host.Daemon()
    daemon.start()
    host.load("trust", "add", f"{host.TMP}/signer/signer.pem", "--names", "test/*")
    host.load("install", f"{host.TMP}/flow.tar")
    before = resident_mib()
    good = flow.Reader({"events": ["flow.*", "obs.lost"]})
    never = [connect(REQUEST) for _ in range(NEVER)]
    slow = [connect(REQUEST) for _ in range(SLOW)]
    half = [connect(b'{"events":') for _ in range(HALF)]
    end = time.monotonic() + 20
    while host.load("status", "--json")["daemon"]["subscribers"] < 1 + NEVER + SLOW + HALF and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    producer = flow.Producer(RATE)
    stop, begun, refused = threading.Event(), [], []
    threads = [threading.Thread(target=a_byte_a_second, args=(s, stop, begun)) for s in slow]
    threads += [threading.Thread(target=flood, args=(refused,)) for _ in range(FLOOD)]
    for thread in threads:
        thread.start()
    time.sleep(6)
    answers = [s.recv(65536) for s in half]
    report(all(b"request.timeout" in a for a in answers), "half_a_request_times_out", f"{len(answers)} of them")
    start = time.monotonic()
    come_and_go()
    report(True, "connecting_and_leaving_is_served", f"{CONNECTIONS} times in {time.monotonic() - start:.1f} s")
    # The rest of the places, so that every queue that there may be is in use.
    more = []
    end = time.monotonic() + 20
    while host.load("status", "--json")["daemon"]["subscribers"] > 1 + NEVER + SLOW and time.monotonic() < end:
        time.sleep(0.05)
    while len(more) < SUBSCRIBERS - 1 - NEVER - SLOW:
        more.append(connect(REQUEST))
    time.sleep(4)
    most = resident_mib()
    made = producer.stop()
    # A last burst fills what queues have left.
    flow.produce(made, 20000, 10000)
    made += 20000
    time.sleep(0.5)
    most = max(most, resident_mib())
    good.wait_for(made)
    report(len(good.numbers) == made and sum(good.numbers.values()) == made and good.connections == 1 and not good.lost,
           "good_reader_gets_all_once", f"{made} made, {len(good.numbers)} arrived, {good.connections} connection, {dict(good.lost)}")
    served = host.load("status", "--json")["daemon"]["subscribers"]
    report(most <= STATED_MIB, "memory_is_as_stated",
           f"{before:.1f} MiB before, {most:.0f} of {STATED_MIB} with {served} subscribers", memory=True)
    report(len(refused) == FLOOD and all(refused), "flood_of_a_request_is_refused", f"{refused}")
    stop.set()
    for thread in threads:
        thread.join()
    counts = [drain(s, made, rest) for s, rest in begun + [(s, b"") for s in never]]
    good.stop()
    exact = sum(c["seen"] + c["subscriber"] == made for c in counts)
    some = sum(c["subscriber"] > 0 for c in counts)
    report(exact == some == NEVER + SLOW, "slow_readers_are_told_what_they_lost",
           f"of {NEVER + SLOW}, {some} lost some, {exact} know exactly: {[dict(c) for c in counts[:2]]} of {made}")
    for s in never + slow + half + more:
        s.close()
    time.sleep(1)
    report(resident_mib() < before + 48, "memory_is_given_back", f"{resident_mib():.0f} MiB after", memory=True)
    daemon.stop()


main()
