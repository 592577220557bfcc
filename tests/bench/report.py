"""Collects figures: a table for people, JSON for machines."""

import json
import os
import platform
import statistics
import time


def median(values):
    return statistics.median(values)


def spread(values, show="{:.3g}"):
    """"median (least to most)"."""
    return f"{show} ({show} to {show})".format(median(values), min(values), max(values))


class Report:
    def __init__(self):
        self.start = time.monotonic()
        self.sections = []
        self.rows = None
        self.data = {
            "kernel": platform.release(), "machine": platform.machine(), "processors": os.cpu_count(),
            "load_at_start": os.getloadavg()[0], "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "figures": {}}

    def section(self, title):
        print(f"\n== {title} ({time.monotonic() - self.start:.0f} s)", flush=True)

    def row(self, name, value, target="", samples=None, holds=None):
        """One line. samples: what the value was taken from; holds: whether the target was met, None: there is none."""
        mark = {None: "", True: "holds", False: "does not hold"}[holds]
        print(f"{name:<58} {value:<34} {target:<18} {mark}".rstrip(), flush=True)
        self.data["figures"][name] = {
            key: v for key, v in {"value": value, "target": target, "samples": samples, "holds": holds}.items()
            if v not in (None, "")}

    def ratio(self, name, ratios, target, holds, show="{:.3f}"):
        """The median decides."""
        self.row(name, spread(ratios, show), target, ratios, holds(median(ratios)))

    def text(self, text, key=None):
        print(text, flush=True)
        if key:
            self.data["figures"][key] = text.splitlines()

    def write(self, path):
        self.data["load_at_end"] = os.getloadavg()[0]
        self.data["seconds"] = round(time.monotonic() - self.start)
        with open(path, "w") as f:
            json.dump(self.data, f, indent=1)
            f.write("\n")
        print(f"\n{self.data['seconds']} s; {path}")
