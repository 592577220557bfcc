#!/usr/bin/env python3
"""A wire between two network namespaces that is slow and loses packets, for kernels without netem and for losses that are
the same on each run.

  wire.py NETNS_A NETNS_B DEVICE DELAY_MS DROP_EVERY

Makes a TUN device in each namespace and carries packets between them, each DELAY_MS late. Of the TCP segments with payload
from A to B every DROP_EVERY'th is lost (0: none). Prints "ready"; ends with its standard input.
"""

import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000
CLONE_NEWNET = 0x40000000


def tun(netns, device):
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open("/run/netns/" + netns) as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns " + netns)
        try:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)
    return fd


def has_tcp_payload(packet):
    if packet[0] >> 4 == 4:
        start, protocol, end = (packet[0] & 15) * 4, packet[9], struct.unpack_from("!H", packet, 2)[0]
    else:
        start, protocol, end = 40, packet[6], 40 + struct.unpack_from("!H", packet, 4)[0]
    return protocol == 6 and end > start + (packet[start + 12] >> 4) * 4


def main():
    ends = [tun(sys.argv[1], sys.argv[3]), tun(sys.argv[2], sys.argv[3])]
    delay, drop_every = float(sys.argv[4]) / 1000, int(sys.argv[5])
    waiting = collections.deque()
    seen = 0
    print("ready", flush=True)
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        readable = select.select([*ends, sys.stdin], [], [], timeout)[0]
        if sys.stdin in readable and not sys.stdin.read(1):
            return
        for side in (0, 1):
            if ends[side] not in readable:
                continue
            try:
                while True:
                    packet = os.read(ends[side], 65536)
                    if side == 0 and drop_every and has_tcp_payload(packet):
                        seen += 1
                        if seen % drop_every == 0:
                            continue
                    waiting.append((time.monotonic() + delay, ends[1 - side], packet))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, packet = waiting.popleft()
            try:
                os.write(end, packet)
            except OSError:
                pass


main()
