"""Producer and reader of test/flow: numbers, so that each event can be told from each other."""

import collections
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time

import host

MARK = 1017
EVENTS = f"{host.TMP}/run/events.sock"


def produce(first, count, rate=0):
    """Calls with the numbers from first on; rate: so many in a second."""
    libc = ctypes.CDLL(None)
    start = time.monotonic()
    for n in range(count):
        libc.syscall(MARK, ctypes.c_ulong(first + n))
        if rate and n % 16 == 15:
            time.sleep(max(0, start + n / rate - time.monotonic()))


class Producer:
    """produce() in a process of its own, until stop(), which returns how many there were."""

    def __init__(self, rate):
        self.process = subprocess.Popen([sys.executable, __file__, str(rate)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def stop(self):
        out, _ = self.process.communicate("\n")
        return int(out)


def until_told(rate):
    """A turn is short, so that the end of the input is seen soon."""
    os.set_blocking(0, False)
    count = 0
    while True:
        produce(count, 64, rate)
        count += 64
        if sys.stdin.buffer.raw.read(1) is not None:
            print(count)
            return


class Reader(threading.Thread):
    """Reads events, connecting again whenever the connection ends; then asks for what the worker has read meanwhile."""

    def __init__(self, request=None):
        super().__init__(daemon=True)
        self.request = request or {"events": ["flow.*", "obs.lost"]}
        self.numbers = collections.Counter()
        self.lost = collections.Counter()
        self.connections = 0
        self.done = False
        self.start()

    def run(self):
        while not self.done:
            try:
                self.follow()
            except OSError:
                pass
            time.sleep(0.005)

    def follow(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(EVENTS)
            s.sendall(json.dumps({**self.request, "last": 100000}).encode() + b"\n")
            s.settimeout(0.2)
            self.connections += 1
            rest = b""
            while not self.done:
                try:
                    chunk = s.recv(1 << 18)
                except TimeoutError:
                    continue
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.take(json.loads(line))

    def take(self, event):
        if event["event"] == "flow.call":
            self.numbers[event["number"]] += 1
        elif event["event"] == "obs.lost":
            self.lost[event["source"]] += event["count"]

    def wait_for(self, count, seconds=30):
        """Until so many different numbers came, or nothing did for a while."""
        end = time.monotonic() + seconds
        while len(self.numbers) < count and time.monotonic() < end:
            time.sleep(0.02)

    def stop(self):
        self.done = True
        self.join()


if __name__ == "__main__":
    until_told(float(sys.argv[1]))
