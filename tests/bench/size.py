"""What installing, verifying and being idle cost."""

import os
import time

from host import BUILD, run, timed, tool, wakeups
from report import spread

VERIFY_ROUNDS = 30
INSTALL_ROUNDS = 8
IDLE_SECONDS = 20


def verify(host, report):
    report.section("obspkg verify")
    tar = host.signed(os.path.join(BUILD, "bundles/network.tar"))
    folder = host.unpacked(tar)
    names = sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, files in os.walk(folder) for name in files)
    signature = next(n for n in names if n.endswith(".p7s"))
    objects = [n for n in names if n.endswith(".o")]
    pem = host.path("key/signer.pem")
    ours, theirs = [], []
    for _ in range(VERIFY_ROUNDS):
        ours.append(timed(os.path.join(BUILD, "bin/obspkg"), "verify", "--cert", pem, tar))
        theirs.append(timed("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", signature, "-content",
                            "manifest.json", "-CAfile", pem, "-purpose", "any", "-out", "/dev/null", cwd=folder)
                      + timed("sha256sum", *objects, cwd=folder))
    report.row("obspkg verify [ms]", spread([t * 1e3 for t in ours], "{:.1f}"), samples=ours)
    report.row("openssl cms -verify, and sha256sum [ms]", spread([t * 1e3 for t in theirs], "{:.1f}"), samples=theirs)
    report.ratio("obspkg verify / openssl and sha256sum", [a / b for a, b in zip(ours, theirs)], "<= 1.2", lambda v: v <= 1.2)


def baseline(host, folder, objects, without, round_number):
    """Loads the same objects without obs. Seconds."""
    total = 0.0
    for name in objects:
        pins = host.path("bpf", f"loadall-{round_number}-{name}")
        os.mkdir(pins)
        at = os.path.join(folder, "obj", os.uname().machine, name + ".bpf.o")
        total += timed(tool("loadall"), pins, at, *[program for obj, program in without if obj == name])
        for pin in os.listdir(pins):
            os.unlink(os.path.join(pins, pin))
        os.rmdir(pins)
    return total


def bpftool(host, folder, name):
    """Seconds of bpftool prog loadall, None where this kernel refuses a program of the object."""
    pins = host.path("bpf", "bpftool")
    try:
        took = timed("bpftool", "prog", "loadall", os.path.join(folder, "obj", os.uname().machine, name + ".bpf.o"), pins)
    except RuntimeError:
        return None
    for pin in os.listdir(pins):
        os.unlink(os.path.join(pins, pin))
    os.rmdir(pins)
    return took


def install_one(host, report, tar, bundle, objects):
    folder = host.unpacked(tar)
    ours, theirs, tools = [], [], []
    for i in range(INSTALL_ROUNDS):
        start = time.monotonic()
        host.load("install", tar)
        ours.append(time.monotonic() - start)
        without = [(p["object"], p["name"]) for p in host.status(bundle)["programs"] if not p["state"].startswith("attached")]
        host.load("remove", bundle)
        theirs.append(baseline(host, folder, objects, without, i))
        tools.append([bpftool(host, folder, name) for name in objects])
    report.row(f"obsload install {bundle} [ms]", spread([t * 1e3 for t in ours], "{:.0f}"), samples=ours)
    report.row(f"load the same programs of {bundle} [ms]", spread([t * 1e3 for t in theirs], "{:.0f}"), samples=theirs)
    report.ratio(f"install / load the same programs, {bundle}", [a / b for a, b in zip(ours, theirs)], "<= 1.5",
                 lambda v: v <= 1.5)
    if all(None not in t for t in tools):
        report.ratio(f"install / bpftool prog loadall, {bundle}", [a / sum(b) for a, b in zip(ours, tools)], "<= 1.5",
                     lambda v: v <= 1.5)
    else:
        report.row(f"install / bpftool prog loadall, {bundle}", "bpftool fails: this kernel refuses a program")


def install(host, report):
    report.section("obsload install, to the last program attached")
    host.start()
    install_one(host, report, host.signed(os.path.join(BUILD, "bundles/network.tar")), "obs/network", ["tcp", "udp"])
    install_one(host, report, host.signed(os.path.join(BUILD, "bench/hooks.tar")), "bench/hooks", ["hooks"])
    host.stop()


def idle(host, report):
    report.section("idle with obs/network")
    host.start()
    host.load("install", host.signed(os.path.join(BUILD, "bundles/network.tar")))
    time.sleep(3)
    before, woken = host.cpu_ns(), {name: wakeups(pid) for name, pid in host.processes().items()}
    time.sleep(IDLE_SECONDS)
    after = host.cpu_ns()
    for name, pid in host.processes().items():
        report.row(f"{name}", f"{host.pss_kb()[name] / 1024:.1f} MB, {(after[name] - before[name]) / IDLE_SECONDS / 1e7:.3f} %, "
                   f"{(wakeups(pid) - woken[name]) / IDLE_SECONDS:.1f} wake-ups/s")
    pss = sum(host.pss_kb().values()) / 1024
    cpu = (sum(after.values()) - sum(before.values())) / IDLE_SECONDS / 1e7
    report.row("all processes, PSS [MB]", f"{pss:.1f}", "<= 20", pss, pss <= 20)
    report.row("all processes, of one core [%]", f"{cpu:.3f}", "< 0.1", cpu, cpu < 0.1)
    host.stop()
