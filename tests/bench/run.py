#!/usr/bin/env python3
"""run.py [SECTION...]: every bench, or those named: events verify install idle network growth. Prints a table and writes
bench.json into the build folder. Nothing passes or fails by time: whether a target holds is said."""

import os
import sys

sys.dont_write_bytecode = True

from events import events  # noqa: E402
from growth import growth  # noqa: E402
from host import BUILD, Host  # noqa: E402
from network import network  # noqa: E402
from report import Report  # noqa: E402
from size import idle, install, verify  # noqa: E402

SECTIONS = {"events": events, "verify": verify, "install": install, "idle": idle, "network": network, "growth": growth}


def main():
    names = sys.argv[1:] or list(SECTIONS)
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.exit(f"bench: no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if os.geteuid():
        sys.exit("bench: loading BPF programs needs root: sudo make bench")
    if "OBS_BENCH_INSIDE" not in os.environ:
        os.environ["OBS_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
                              sys.executable] + sys.argv)
    report = Report()
    host = Host()
    for name in names:
        SECTIONS[name](host, report)
    report.write(os.path.join(BUILD, "bench.json"))


main()
