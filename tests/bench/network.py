"""What obs/network costs a web server that has a new connection for each request."""

import os
import re
import subprocess
import time

from host import BUILD, stop
from report import spread

ROUNDS = 12
SECONDS = 2
WINDOW_SECONDS = 0.01

NGINX = """
worker_processes 1;
daemon off;
error_log stderr crit;
pid {tmp}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_timeout 0;
  client_body_temp_path {tmp}/nginx-body;
  proxy_temp_path {tmp}/nginx-proxy;
  fastcgi_temp_path {tmp}/nginx-fastcgi;
  uwsgi_temp_path {tmp}/nginx-uwsgi;
  scgi_temp_path {tmp}/nginx-scgi;
  server {{ listen 127.0.0.1:8080 backlog=4096; location / {{ return 200 "hello\\n"; }} }}
}}
"""


def accepted():
    """Connections that were accepted since the boot: here each is a request (tcpPassiveOpens of RFC 4022)."""
    with open("/proc/net/snmp") as f:
        names, values = [line.split() for line in f if line.startswith("Tcp:")]
    return int(values[names.index("PassiveOpens")])


def rates():
    """Requests a second of each hundredth of a second. nginx and wrk share one processor: nothing that a request costs hides in
    the idle time of another, and how the kernel spreads the two, which makes more of a difference than what is measured, does not
    matter. What counts is looked at from the other processor."""
    wrk = subprocess.Popen(["taskset", "-c", "0", "wrk", "-t", "1", "-c", "32", "-d", f"{SECONDS}s", "-H", "Connection: close",
                            "http://127.0.0.1:8080/"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    windows = []
    time.sleep(0.2)
    until = time.monotonic() + SECONDS - 0.4
    then, count = time.perf_counter(), accepted()
    while then < until:
        time.sleep(WINDOW_SECONDS)
        now, count_now = time.perf_counter(), accepted()
        windows.append((count_now - count) / (now - then))
        then, count = now, count_now
    out = wrk.communicate(timeout=60)[0]
    errors = re.search(r"Socket errors:.*|Non-2xx.*", out)
    if wrk.returncode or errors:
        raise RuntimeError(f"wrk ended with {wrk.returncode}: {errors.group(0) if errors else out}")
    return windows


def undisturbed(windows):
    """What one in twenty windows surpasses: other work on the machine takes from the others."""
    return sorted(windows)[int(0.95 * (len(windows) - 1))]


def program_times(host):
    """ns a request of each program, by the kernel's own clock, which makes each run slower."""
    switch = "/proc/sys/kernel/bpf_stats_enabled"
    with open(switch, "w") as f:
        f.write("1")
    before = {p["name"]: p for p in host.status("obs/network")["programs"]}
    requests = -accepted()
    rates()
    requests += accepted()
    after = host.status("obs/network")["programs"]
    with open(switch, "w") as f:
        f.write("0")
    rows = []
    for p in after:
        runs = p["runs"] - before[p["name"]]["runs"]
        took = p["run_time_ns"] - before[p["name"]]["run_time_ns"]
        if runs:
            rows.append((took / requests, p["name"], runs / requests, took / runs))
    return sorted(rows, reverse=True)


# What is measured with each bundle, which is installed for all of it once a round.
MODES = {
    None: ["off"],
    "bench/hooks": ["hooks that do nothing"],
    "obs/network": ["on", "on, and read", "filtered to another process"],
}


def turned(values, turns):
    """Over the rounds each comes in each place of the order as often."""
    values = list(values)
    turn = turns % len(values)
    return values[turn:] + values[:turn]


def measure(host, bundle, mode):
    """Requests a second of many windows."""
    filtered = mode == "filtered to another process"
    reader = host.subscribe("50:tcp.", {}) if mode == "on, and read" else None
    if filtered:
        host.load("set", bundle, "pid_include=1")
    time.sleep(0.3)
    windows = rates()
    if filtered:
        host.load("set", bundle, "pid_include=")
    if reader:
        stop(reader)
    return windows


def network(host, report):
    report.section("nginx, a new connection for each request")
    tars = {"obs/network": host.signed(os.path.join(BUILD, "bundles/network.tar")),
            "bench/hooks": host.signed(os.path.join(BUILD, "bench/hooks.tar"))}
    with open(host.path("nginx.conf"), "w") as f:
        f.write(NGINX.format(tmp=host.tmp))
    host.start()
    nginx = subprocess.Popen(["taskset", "-c", "0", "nginx", "-p", host.tmp, "-c", host.path("nginx.conf")])
    time.sleep(0.5)
    with open("/proc/sys/net/ipv4/tcp_tw_reuse", "w") as f:
        f.write("1")
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
        f.write("1024 65000")
    rates()
    modes = sum(MODES.values(), [])
    windows = {mode: [] for mode in modes}
    for i in range(ROUNDS):
        for bundle in turned(MODES, i):
            if bundle:
                host.load("install", tars[bundle])
            for mode in turned(MODES[bundle], i):
                windows[mode].append(measure(host, bundle, mode))
            if bundle:
                host.load("remove", bundle)
    best = {mode: [undisturbed(one) for one in windows[mode]] for mode in modes}
    for mode in modes:
        report.row(f"requests/s, {mode}", spread(best[mode], "{:.0f}"), samples=best[mode])
    for mode, least in (("hooks that do nothing", None), ("on", 0.95), ("on, and read", 0.95),
                        ("filtered to another process", 0.99)):
        ratios = [a / b for a, b in zip(best[mode], best["off"])]
        name = f"{mode} / off, {ROUNDS} interleaved pairs"
        if least:
            report.ratio(name, ratios, f">= {least}", lambda v, least=least: v >= least)
        else:
            report.row(name, spread(ratios, "{:.3f}"), samples=ratios)
        whole = undisturbed(sum(windows[mode], [])) / undisturbed(sum(windows["off"], []))
        report.row(f"{mode} / off, of all windows at once", f"{whole:.3f}", samples=[whole])
    host.load("install", tars["obs/network"])
    lines = [f"{ns:7.0f} ns a request  {name:<20} {runs:5.2f} runs of {each:5.0f} ns" for ns, name, runs, each in program_times(host)]
    report.text("the bundle's programs, by the kernel's clock:\n  " + "\n  ".join(lines), "programs' time")
    host.load("remove", "obs/network")
    stop(nginx)
    host.stop()
