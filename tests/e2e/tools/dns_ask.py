#!/usr/bin/env python3
"""Asks a resolver: dns_ask.py MODE SERVER NAME...

Modes: connected, sendto (UDP); own-port (UDP, from port 53 as servers do); tcp (one connection, one message at a time);
tcp-split (the length prefix in a segment of its own); tcp-pipelined (all questions in one segment); ignored (UDP, waits for
no answer). Prints one line per answer: name and response code. IPv6 where the server's address is.
"""

import socket
import struct
import sys
import time

PORT = 53


def question(ident, name, kind=1):
    labels = b"".join(bytes([len(part)]) + part.encode("latin-1") for part in name.split(".") if part)
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def show(name, answer):
    print(name, answer[3] & 15, flush=True)


def receive(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError("connection closed")
        data += more
    return data


def over_udp(mode, family, server, names):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        if mode == "own-port":
            sock.bind(("", PORT))
        if mode == "connected":
            sock.connect((server, PORT))
        for ident, name in enumerate(names, 1):
            if mode == "connected":
                sock.send(question(ident, name))
            else:
                sock.sendto(question(ident, name), (server, PORT))
            if mode != "ignored":
                show(name, sock.recv(4096))


def over_tcp(mode, family, server, names):
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((server, PORT))
        messages = [question(ident, name) for ident, name in enumerate(names, 1)]
        if mode == "tcp-pipelined":
            sock.sendall(b"".join(struct.pack("!H", len(m)) + m for m in messages))
        for name, message in zip(names, messages):
            if mode == "tcp-split":
                sock.sendall(struct.pack("!H", len(message)))
                time.sleep(0.02)
                sock.sendall(message)
            elif mode == "tcp":
                sock.sendall(struct.pack("!H", len(message)) + message)
            answer = receive(sock, struct.unpack("!H", receive(sock, 2))[0])
            show(name, answer)


def main():
    mode, server, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    (over_tcp if mode.startswith("tcp") else over_udp)(mode, family, server, names)


main()
