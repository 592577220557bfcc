"""How time and memory grow with what there is to do. Worse than linear is: the next step costs more a piece than the last."""

import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from events import EVENT, produce, settled
from host import BUILD, ROOT, last_json, run, stop, tool

BUNDLES = (1, 10, 100)
SUBSCRIBERS = (1, 8, 64)
RATES = (100, 1000, 10000)
OPEN = (10, 1000, 100000)
SLACK = 1.5  # small steps are noisy
SETTLE = 1.0
FLOW_INTERVAL = 10  # s, of obs/network


def pss_mb(host):
    return sum(host.pss_kb().values()) / 1024


def cpu_s(host):
    return sum(host.cpu_ns().values()) / 1e9


def linear(sizes, costs, floor):
    """Whether the last step costs at most SLACK times as much a piece as the one before; a step below floor is noise."""
    steps = [(b - a) / (n - m) for a, b, m, n in zip(costs, costs[1:], sizes, sizes[1:])]
    return costs[-1] - costs[-2] < floor or steps[-1] <= SLACK * max(steps[-2], 0) or steps[-1] <= SLACK * costs[0] / sizes[0]


def make_bundles(host, most):
    """Bundles that differ in name only."""
    folder = host.path("many")
    example = os.path.join(ROOT, "docs/examples/hello")
    with open(os.path.join(example, "bundle.json")) as f:
        definition = json.load(f)

    def make(i):
        at = os.path.join(folder, str(i))
        shutil.copytree(example, at)
        definition_i = dict(definition, name=f"bench/many{i}")
        with open(os.path.join(at, "bundle.json"), "w") as f:
            json.dump(definition_i, f)
        host.pkg("build", at, "-o", at + ".tar")
        return host.signed(at + ".tar", f"many{i}.tar")

    os.mkdir(folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make, range(most)))


def bundles(host, report):
    tars = make_bundles(host, BUNDLES[-1])
    installed, times, memory = 0, [], []
    host.start()
    start = time.monotonic()
    for most in BUNDLES:
        for tar in tars[installed:most]:
            host.load("install", tar)
        installed = most
        times.append(time.monotonic() - start)
        time.sleep(SETTLE)
        memory.append(pss_mb(host))
        before = cpu_s(host)
        time.sleep(3)
        report.row(f"{most} bundles", f"installed in {times[-1]:.2f} s, {memory[-1]:.1f} MB, idle {(cpu_s(host) - before) / 3:.2%}",
                   samples=[times[-1], memory[-1]])
        start += SETTLE + 3
    restart = time.monotonic()
    host.daemon.terminate()
    host.daemon.wait(60)
    host.start_again()
    report.row(f"{most} bundles adopted after a restart [s]", f"{time.monotonic() - restart:.2f}")
    report.row("time and memory by bundles", "", "linear", None, linear(BUNDLES, times, 0.5) and linear(BUNDLES, memory, 2))
    host.stop()


def subscribers(host, report):
    rate, times, memory = 50_000, [], []
    host.start()
    host.load("install", host.signed(os.path.join(BUILD, "bench/spin.tar")))
    for count in SUBSCRIBERS:
        readers = [host.subscribe(EVENT, {}) for _ in range(count)]
        time.sleep(0.5)
        lost, cpu = host.lost("bench/spin"), cpu_s(host)
        made = produce(str(rate), str(rate))
        settled(host, "bench/spin")
        times.append(cpu_s(host) - cpu)
        memory.append(pss_mb(host))
        lost = sum(host.lost("bench/spin").values()) - sum(lost.values())
        lines = sum(last_json(stop(r))["lines"] for r in readers)
        report.row(f"{count} subscribers, {rate} events in {made['seconds']:.1f} s each",
                   f"CPU {times[-1]:.3f} s, {memory[-1]:.1f} MB, lost {lost}", samples=[times[-1], memory[-1], lost, lines])
    report.row("time and memory by subscribers", "", "linear", None,
               linear(SUBSCRIBERS, times, 0.1) and linear(SUBSCRIBERS, memory, 2))
    host.stop()


def rates(host, report):
    seconds, times, memory = 3, [], []
    host.start()
    host.load("install", host.signed(os.path.join(BUILD, "bundles/network.tar")))
    reader = host.subscribe('50:tcp.', {})
    for rate in RATES:
        time.sleep(SETTLE)
        cpu, lost = cpu_s(host), sum(host.lost("obs/network").values())
        made = json.loads(run(tool("connections"), "rate", str(rate), str(seconds)))
        time.sleep(0.5)
        times.append(cpu_s(host) - cpu)
        memory.append(pss_mb(host))
        lost = sum(host.lost("obs/network").values()) - lost
        report.row(f"{rate} connections a second for {seconds} s (took {made['seconds']:.1f} s)",
                   f"CPU {times[-1]:.3f} s, {memory[-1]:.1f} MB, lost {lost}", samples=[times[-1], memory[-1], lost])
    report.row("time and memory by connections a second", "", "linear", None,
               linear(RATES, times, 0.1) and linear(RATES, memory, 2))
    stop(reader)
    host.stop()


def kernel_mb():
    """What the kernel has for itself."""
    with open("/proc/meminfo") as f:
        kb = {line.split(":")[0]: int(line.split()[1]) for line in f}
    return (kb["Slab"] + kb["Percpu"] + kb["VmallocUsed"]) / 1024


def hold(count, look):
    """Opens so many, looks, closes them. Seconds to open, what the kernel took, what look said."""
    before = kernel_mb()
    holder = subprocess.Popen([tool("connections"), "hold", str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = holder.stdout.readline()
    if not line:
        raise RuntimeError("connections ended early")
    took = json.loads(line)["seconds"]
    seen = look()
    memory = kernel_mb() - before
    holder.communicate("")
    return took, memory, seen


def open_connections(host, report):
    tar = host.signed(os.path.join(BUILD, "bundles/network.tar"))
    times, idle, memory, kernel = [], [], [], []
    host.start()

    def look():
        time.sleep(SETTLE)
        cpu = cpu_s(host)
        # Each connection is told of once in flow_interval_ms.
        time.sleep(FLOW_INTERVAL)
        return pss_mb(host), (cpu_s(host) - cpu) / FLOW_INTERVAL

    for count in OPEN:
        without, kernel_without, _ = hold(count, lambda: None)
        time.sleep(SETTLE)
        host.load("install", tar)
        took, kernel_with, (mb, cpu) = hold(count, look)
        time.sleep(SETTLE)
        host.load("remove", "obs/network")
        times.append(took)
        idle.append(cpu)
        memory.append(mb)
        kernel.append(max(kernel_with - kernel_without, 0))
        report.row(f"{count} open connections", f"opened in {took:.3f} s ({without:.3f} without), {mb:.1f} MB, kernel "
                   f"{kernel[-1]:+.1f} MB, CPU {cpu:.2%}", samples=[took, without, mb, kernel[-1], cpu])
    report.row("time and memory by open connections", "", "linear", None,
               linear(OPEN, times, 0.5) and linear(OPEN, memory, 2) and linear(OPEN, idle, 0.01) and linear(OPEN, kernel, 8))
    host.stop()


def growth(host, report):
    for title, part in (("bundles", bundles), ("subscribers", subscribers), ("connections a second", rates),
                        ("open connections", open_connections)):
        report.section(f"growth: {title}")
        part(host, report)
