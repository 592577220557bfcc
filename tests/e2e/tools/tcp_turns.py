#!/usr/bin/env python3
"""One TCP socket that does what it is told, turn by turn: `tcp_turns.py FIFO` reads a command a line and prints one line for each,
its result or the name of the error. It ends with `quit`.

    listen ADDRESS PORT | accept | connect ADDRESS PORT | send BYTES | close | abort (close with SO_LINGER 0)
    nonblocking | ready (for what connect() began) | keepalive (gives up after two seconds) | fastopen ADDRESS PORT BYTES (data with the SYN) | port
"""
import errno
import os
import select
import socket
import struct
import sys

listener = None
sock = socket.socket()


def address(words):
    return words[0], int(words[1])


def listen(words):
    global listener
    listener = socket.create_server(address(words))


def accept(_):
    global sock
    sock = listener.accept()[0]


def connect(words):
    sock.connect(address(words))


def send(words):
    sock.sendall(bytes(int(words[0])))


def close(_):
    sock.close()


def abort(_):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def nonblocking(_):
    sock.setblocking(False)


def ready(_):
    select.select([], [sock], [], 5)


def keepalive(_):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        sock.setsockopt(socket.IPPROTO_TCP, option, 1)


def fastopen(words):
    sock.sendto(bytes(int(words[2])), socket.MSG_FASTOPEN, address(words))


def port(_):
    return sock.getsockname()[1]


def main():
    # Also for writing: between two writers it does not end.
    with os.fdopen(os.open(sys.argv[1], os.O_RDWR), "rb+", buffering=0) as commands:
        for line in iter(commands.readline, b"quit\n"):
            name, *words = line.decode().split()
            try:
                answer = TURNS[name](words)
                print("ok" if answer is None else answer, flush=True)
            except OSError as e:
                print(errno.errorcode[e.errno], flush=True)


TURNS = {f.__name__: f for f in (listen, accept, connect, send, close, abort, nonblocking, ready, keepalive, fastopen, port)}
main()
