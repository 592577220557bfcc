#!/usr/bin/env python3
"""tcp_many.py COUNT: so many connections on loopback at once, then all gone. Two processes, so that each stays below a
usual limit of open files. Prints "open" when all stand, waits for a line on stdin, closes them, prints "gone"."""

import os
import resource
import socket
import sys


def server(count, port_pipe, closing):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    os.write(port_pipe, b"%d\n" % listener.getsockname()[1])
    held = [listener.accept()[0] for _ in range(count)]
    os.read(closing, 1)
    for sock in held:
        sock.close()
    os._exit(0)


def main():
    count = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, max(count + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    port_out, port_in = os.pipe()
    closing_out, closing_in = os.pipe()
    child = os.fork()
    if child == 0:
        server(count, port_in, closing_out)
    port = int(os.read(port_out, 16))
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    print("open", port, flush=True)
    sys.stdin.readline()
    for sock in held:
        sock.close()
    os.write(closing_in, b"x")
    os.waitpid(child, 0)
    print("gone", flush=True)


main()
