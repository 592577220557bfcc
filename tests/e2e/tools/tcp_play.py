#!/usr/bin/env python3
"""TCP traffic with known numbers.

  tcp_play.py serve ADDRESS PORT
      Accepts for ever. A connection starts with two 8-byte numbers: how much it will send, how much it wants back.
  tcp_play.py play ADDRESS PORT SEND WANT [fin|rst|server|crash] [HOLD]
      One connection. Prints its local port when connected and "moved" when all bytes are there both ways, waits HOLD
      seconds (default 0), or until the file HOLD is there, and ends it: by FIN, by reset, by letting the server close first, or by its server's reset.
      SEND counts the 17 bytes of the header too.
"""

import os
import socket
import struct
import sys
import threading
import time

HEADER = struct.Struct("!QQc")
CHUNK = 65536


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive(sock, size):
    while size:
        got = len(sock.recv(min(size, CHUNK)))
        if not got:
            raise EOFError
        size -= got


def send(sock, size):
    block = bytes(CHUNK)
    while size:
        size -= sock.send(block[: min(size, CHUNK)])


def answer(sock):
    try:
        header = b""
        while len(header) < HEADER.size:
            more = sock.recv(HEADER.size - len(header))
            if not more:
                return sock.close()
            header += more
        coming, wanted, end = HEADER.unpack(header)
        receive(sock, coming - HEADER.size)
        send(sock, wanted)
        if end == b"c":
            return reset(sock)
        if end == b"s":
            return sock.close()
        while sock.recv(CHUNK):
            pass
    except (OSError, EOFError):
        pass
    sock.close()


def serve(address, port):
    listener = socket.socket(family(address))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1024)
    print("ready", flush=True)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def play(address, port, size, wanted, end, hold):
    sock = socket.create_connection((address, port))
    print(sock.getsockname()[1], flush=True)
    sock.sendall(HEADER.pack(size, wanted, end[0].encode()))
    send(sock, size - HEADER.size)
    receive(sock, wanted)
    print("moved", flush=True)
    if end in ("server", "crash"):
        try:
            sock.recv(1)
        except ConnectionResetError:
            pass
    if hold.startswith("/"):
        while not os.path.exists(hold):
            time.sleep(0.05)
    else:
        time.sleep(float(hold))
    if end == "rst":
        reset(sock)
    sock.close()


def main():
    arg = sys.argv[2:]
    if sys.argv[1] == "serve":
        serve(arg[0], int(arg[1]))
    else:
        play(arg[0], int(arg[1]), int(arg[2]), int(arg[3]), arg[4] if len(arg) > 4 else "fin",
             arg[5] if len(arg) > 5 else "0")


main()
