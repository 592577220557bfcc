"""The stock network bundle upgraded while connections come and go: what happens to each is told once, also where it stands across
upgrades.

	upgrades_network.py COUNT"""

import collections
import json
import os
import socket
import subprocess
import sys
import threading
import time

import flow
import host

COUNT = int(sys.argv[1])
# Connections in a second, and how many of them stand at a time.
RATE, AT_ONCE = 200, 10
SERVER, PORT = "127.0.0.1", 4711
# No two connections come from one port of one address.
FIRST_PORT, PORTS = 10000, 50000
PAYLOAD = b"hello"
# What is told of a connection, and of which of its sockets.
TOLD = [("tcp.connect", "client"), ("tcp.accept", "server"), ("tcp.close", "client"), ("tcp.close", "server")]


def connect(net, n):
    s = socket.socket()
    s.bind((f"127.0.{net}.{1 + n // PORTS}", FIRST_PORT + n % PORTS))
    s.connect((SERVER, PORT))
    s.sendall(PAYLOAD)
    return s


def serve(listener):
    def until_end(s):
        while s.recv(64):
            pass
        s.close()

    while True:
        threading.Thread(target=until_end, args=(listener.accept()[0],), daemon=True).start()


def until_told():
    """Connections until a line comes; then writes who they were."""
    listener = socket.create_server((SERVER, PORT), backlog=1024)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    print("ready", flush=True)
    made, standing = [], collections.deque()
    start = time.monotonic()
    while not told.is_set():
        standing.append(connect(1, len(made)))
        made.append(standing[-1].getsockname())
        if len(standing) == AT_ONCE:
            standing.popleft().close()
        time.sleep(max(0, start + len(made) / RATE - time.monotonic()))
    for s in standing:
        s.close()
    print(json.dumps(made))


class Traffic:
    """until_told() in a process of its own."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__, str(COUNT), "traffic"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def stop(self):
        out, _ = self.process.communicate("\n")
        return [tuple(each) for each in json.loads(out)]


class Reader(flow.Reader):
    """Events of the connections to PORT, by what, socket, and address of the client."""

    def __init__(self):
        self.events = collections.defaultdict(list)
        super().__init__({"events": ["tcp.connect", "tcp.accept", "tcp.close", "obs.lost"]})

    def take(self, event):
        if event["event"] == "obs.lost":
            self.lost[event["source"]] += event["count"]
            return
        ends = [event["network"][end] for end in ("local", "peer")]
        for side, (client, server) in (("client", ends), ("server", ends[::-1])):
            if server["port"] == PORT:
                self.events[event["event"], side, (client["address"], client["port"])].append(event)

    def times(self, who):
        """How often each of TOLD came."""
        return [len(self.events.get((*what, who), ())) for what in TOLD]

    def wait_for_all(self, made, seconds=30):
        end = time.monotonic() + seconds
        while not all(all(self.times(who)) for who in made) and time.monotonic() < end:
            time.sleep(0.1)


def report(good, name, why):
    print(f"ok {name} ({why})" if good else f"FAIL {name}: {why}")


def upgrade_all_the_while():
    """COUNT upgrades. Of the connections that are opened before each, one ends behind it, and one after all of them."""
    stood, standing = [], []
    for n in range(COUNT):
        time.sleep(0.1)
        short, long = connect(2, 2 * n), connect(2, 2 * n + 1)
        stood += [short.getsockname(), long.getsockname()]
        standing.append(long)
        host.load("install", "--allow-downgrade", f"{host.TMP}/network{2 - n % 2}.tar")
        short.close()
    for s in standing:
        s.close()
    return stood


def once(reader, made, name):
    """A run that the kernel skipped is told."""
    times = [n for who in made for n in reader.times(who)]
    missing, twice = times.count(0), sum(n > 1 for n in times)
    report(twice == 0 and missing <= reader.lost["missed"] and set(reader.lost) <= {"missed"}, name,
           f"{len(made)} connections, {len(times)} events: {missing} missing, {twice} came twice, told as lost: {dict(reader.lost)}")


def knows_process_and_bytes(event, side, pid):
    moved = {"client": "sent_bytes", "server": "received_bytes"}[side]
    return event["process"].get("pid") == pid and event["tcp"][moved] == len(PAYLOAD)


def main():
    sys.stdout.reconfigure(line_buffering=True)
    daemon = host.Daemon()
    daemon.start()
    host.load("trust", "add", f"{host.TMP}/signer/signer.pem", "--names", "obs/*")
    host.load("install", f"{host.TMP}/network1.tar")
    # What else the host does is nothing to be counted here.
    host.load("set", "obs/network", f"port_include={PORT}")
    reader = Reader()
    while not reader.connections:
        time.sleep(0.01)
    time.sleep(0.3)
    traffic = Traffic()
    pids = {"client": os.getpid(), "server": traffic.process.pid}
    start = time.monotonic()
    stood = upgrade_all_the_while()
    took = time.monotonic() - start
    made = traffic.stop()
    reader.wait_for_all(made + stood)
    print(f"{COUNT} upgrades in {took:.0f} s")
    once(reader, made, "upgrades_tell_each_connection_once")
    once(reader, stood, "upgrades_tell_once_what_stands_across_them")
    closes = [(event, side) for what, side in TOLD for who in stood for event in reader.events[what, side, who] if what == "tcp.close"]
    bad = [event for event, side in closes if not knows_process_and_bytes(event, side, pids[side])]
    report(not bad, "upgrades_keep_process_and_bytes_of_what_stands", f"{len(closes)} closes, {len(bad)} wrong, such as {bad[:1]}")
    reader.stop()
    daemon.stop()


if sys.argv[2:] == ["traffic"]:
    until_told()
else:
    main()
