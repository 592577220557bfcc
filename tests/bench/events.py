"""Events from a ring to subscribers: how many, how exact, where the time goes."""

import json
import os
import signal
import subprocess
import time

from host import BUILD, last_json, run, stop, tool, wait_until
from report import median

SECONDS = 2
ROUNDS = 5
EVENT = '50:spin"'  # in a line of ours: behind {"time":"30 characters","event":"
BPFTRACE = ('tracepoint:raw_syscalls:sys_enter /args->id == 1000/ '
            '{ printf("%llu %u %llu %s %llu %u\\n", nsecs, pid, cgroup, comm, args->id, cpu); }')
FILTERS = [
    {"field": "process.pid", "op": "==", "value": 1},
    {"field": "spin.number", "op": "<", "value": 10},
    {"field": "process.executable.name", "op": "==", "value": "nobody"},
    {"field": "spin.cpu", "op": ">", "value": 10000},
    {"field": "process.executable.name", "op": "glob", "value": "no*"},
    {"field": "process.pid", "op": "in", "value": [1, 2, 3]},
    {"field": "process.cgroup.id", "op": "==", "value": 18446744073709551},
]


def produce(*words):
    return json.loads(run(tool("produce"), *words))


def settled(host, name):
    """The bundle's counters once they no longer change."""
    before = None

    def same():
        nonlocal before
        now = host.status(name)
        now = (now["events"], now["lost"])
        was, before = before, now
        if now != was:
            time.sleep(0.3)
        return now == was

    wait_until("counters", same)
    return before


def ours(host, readers, amount, burst):
    """One production with these subscribers. Rate of the first, and everything produced and lost."""
    host.load("set", "bench/spin", f"burst={burst}")
    events, lost = settled(host, "bench/spin")
    running = [host.subscribe(EVENT, request) for request in readers]
    time.sleep(0.3)
    made = produce(*amount)
    events_after, lost_after = settled(host, "bench/spin")
    counted = [last_json(stop(r)) for r in running]
    return {
        "produced": made["calls"] * burst, "rate_produced": made["calls"] * burst / made["seconds"],
        "delivered": counted[0]["lines"], "rate": counted[0]["lines"] / max(counted[0]["seconds"], 1e-9),
        "bytes_a_line": counted[0]["bytes"] / max(counted[0]["lines"], 1),
        "read": events_after - events,
        "ring": lost_after["ring"] - lost["ring"], "subscriber": lost_after["subscriber"] - lost["subscriber"],
        "others": sum(lost_after.values()) - sum(lost.values()) - lost_after["ring"] + lost["ring"]
        - lost_after["subscriber"] + lost["subscriber"],
    }


def bare(object_file, burst):
    reader = subprocess.Popen([tool("ring"), object_file, str(burst)], stdout=subprocess.PIPE, text=True)
    reader.stdout.readline()
    made = produce(f"{SECONDS}s")
    time.sleep(0.3)
    seen = last_json(stop(reader))
    return {"rate": seen["events"] / seen["seconds"], "events": seen["events"], "lost": seen["lost"],
            "produced": made["calls"] * burst}


def bpftrace():
    tracer = subprocess.Popen(["bpftrace", "-f", "json", "-e", BPFTRACE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    counter = subprocess.Popen([tool("count"), '0:{"type": "printf"'], stdin=tracer.stdout, stdout=subprocess.PIPE)
    tracer.stdout.close()
    # Attached when the line says so; count shows it only at its end, so the kernel is asked.
    time.sleep(2.5)
    made = produce(f"{SECONDS}s")
    time.sleep(0.5)
    # It sometimes misses an interrupt while it prints.
    for by in [signal.SIGINT] * 5 + [signal.SIGKILL]:
        tracer.send_signal(by)
        try:
            tracer.wait(1)
            break
        except subprocess.TimeoutExpired:
            pass
    lines = counter.communicate(timeout=60)[0].decode().strip().splitlines()
    errors = tracer.stderr.read().decode()
    tracer.wait()
    others = [json.loads(line) for line in lines[:-1] if line.startswith("{")]
    seen = json.loads(lines[-1])
    if not any(o["type"] == "attached_probes" for o in others) or not seen["lines"]:
        raise RuntimeError(f"bpftrace saw nothing: {errors}")
    lost = sum(o["data"]["events"] for o in others if o["type"] == "lost_events")
    return {"rate": seen["lines"] / seen["seconds"], "delivered": seen["lines"], "lost": lost, "produced": made["calls"]}


def profile(host):
    """Where the worker's time goes while it has as much to do as it can."""
    data = host.path("perf.data")
    reader = host.subscribe(EVENT, {})
    perf = subprocess.Popen(["perf", "record", "-q", "-F", "999", "-o", data, "-p", str(host.processes()["worker"])],
                            stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    produce("2s")
    stop(perf, signal.SIGINT)
    stop(reader)
    text = run("perf", "report", "-i", data, "--stdio", "--no-children", "-F", "overhead,dso,symbol", "-g", "none",
               stdin=subprocess.DEVNULL)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lines[:20]


def exact(r):
    return r["delivered"] + r["ring"] + r["subscriber"] + r["others"] == r["produced"]


def events(host, report):
    report.section("events of 64 bytes, as JSON")
    tar = host.signed(os.path.join(BUILD, "bench/spin.tar"))
    object_file = os.path.join(host.unpacked(tar), "obj", os.uname().machine, "spin.bpf.o")
    host.start()
    host.load("install", tar)
    flat, call, peers, limits, eight = [], [], [], [], []
    for _ in range(ROUNDS):
        flat.append(ours(host, [{}], [f"{SECONDS}s"], 64))
        eight.append(ours(host, [{}] + [{"where": [f]} for f in FILTERS], [f"{SECONDS}s"], 64))
        call.append(ours(host, [{}], [f"{SECONDS}s"], 1))
        host.load("remove", "bench/spin")
        limits.append(bare(object_file, 64))
        peers.append(bpftrace())
        host.load("install", tar)
    rates = [r["rate"] for r in flat]
    report.row("offered by one core, 64 events a call [M/s]", f"{median([r['rate_produced'] for r in flat]) / 1e6:.2f}")
    report.row("offered by one core, 1 event a call [M/s]", f"{median([r['rate_produced'] for r in call]) / 1e6:.2f}")
    report.ratio("delivered to one subscriber, 64 a call [M/s]", [r / 1e6 for r in rates], ">= 1", lambda v: v >= 1, "{:.2f}")
    report.ratio("delivered to one subscriber, 1 a call [M/s]", [r["rate"] / 1e6 for r in call], ">= 1", lambda v: v >= 1,
                 "{:.2f}")
    report.row("bytes a line", f"{median([r['bytes_a_line'] for r in flat]):.0f}")
    report.ratio("bpftrace -f json, same fields [M/s]", [r["rate"] / 1e6 for r in peers], "", lambda v: None)
    report.ratio("obs / bpftrace, 1 a call", [a["rate"] / b["rate"] for a, b in zip(call, peers)], ">= 10", lambda v: v >= 10,
                 "{:.1f}")
    report.ratio("obs / bpftrace, 64 a call", [a["rate"] / b["rate"] for a, b in zip(flat, peers)], ">= 10", lambda v: v >= 10,
                 "{:.1f}")
    report.ratio("with 8 subscribers of which 7 filter / with one", [a["rate"] / b["rate"] for a, b in zip(eight, flat)],
                 ">= 0.7", lambda v: v >= 0.7)
    report.ratio("bare ring reader that only counts [M/s]", [r["rate"] / 1e6 for r in limits], "", lambda v: None, "{:.2f}")
    report.ratio("obs / bare ring reader", [a["rate"] / b["rate"] for a, b in zip(flat, limits)], "", lambda v: None)
    exactly = [exact(r) for r in flat + call]
    report.row("produced = delivered + lost, exactly", f"{sum(exactly)} of {len(exactly)} runs", "all", flat + call, all(exactly))
    for rate in (100_000, 500_000, 1_000_000):
        r = ours(host, [{}], [str(rate), str(rate)], 1)
        report.row(f"offered {rate} a second for a second: lost", f"{(r['ring'] + r['subscriber']) / r['produced']:.2%}", "",
                   r)
    host.load("set", "bench/spin", "burst=64")
    report.text("where the worker's time goes:\n  " + "\n  ".join(profile(host)), "worker's time")
    host.stop()
