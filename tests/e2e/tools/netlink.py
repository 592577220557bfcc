"""What BPF hangs on an interface, as netlink tells it: tc and ip take longer to answer than the daemon for a change."""

import socket
import struct

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
RTM_GETLINK, RTM_GETQDISC, RTM_GETTFILTER = 18, 38, 46
IFINFOMSG_BYTES, TCMSG_BYTES = 16, 20
IFLA_XDP, IFLA_XDP_ATTACHED = 43, 2
TCA_KIND, TCA_OPTIONS, TCA_BPF_NAME = 1, 2, 7
# The two sides of a clsact qdisc, as parents of filters.
SIDES = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}


def ask(kind, flags, body):
    """Each answer without its header."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as s:
        s.send(struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
        while True:
            rest = s.recv(1 << 16)
            while rest:
                size, answer = struct.unpack_from("=IH", rest)
                if answer == NLMSG_DONE:
                    return found
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", rest, 16)[0]
                    raise OSError(code, "netlink")
                found.append(rest[16:size])
                rest = rest[(size + 3) & ~3:]
            if not flags & NLM_F_DUMP:
                return found


def attributes(data):
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3:]
    return found


def text(value):
    return value.split(b"\0")[0].decode()


def tcmsg(index, parent=0):
    return struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, parent, 0)


def filters(interface):
    """Names of the programs of the BPF filters, by side."""
    index = socket.if_nametoindex(interface)
    found = {}
    for side, parent in SIDES.items():
        options = [attributes(attributes(a[TCMSG_BYTES:]).get(TCA_OPTIONS, b""))
                   for a in ask(RTM_GETTFILTER, NLM_F_DUMP, tcmsg(index, parent))]
        found[side] = [text(o[TCA_BPF_NAME]) for o in options if TCA_BPF_NAME in o]
    return found


def qdiscs(interface):
    index = socket.if_nametoindex(interface)
    return [text(attributes(a[TCMSG_BYTES:])[TCA_KIND]) for a in ask(RTM_GETQDISC, NLM_F_DUMP, tcmsg(0))
            if struct.unpack_from("=i", a, 4)[0] == index]


def has_xdp(interface):
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(interface), 0, 0)
    xdp = attributes(ask(RTM_GETLINK, 0, body)[0][IFINFOMSG_BYTES:]).get(IFLA_XDP, b"")
    return attributes(xdp).get(IFLA_XDP_ATTACHED, b"\0") != b"\0"
