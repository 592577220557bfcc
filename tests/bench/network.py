"""What obs/network costs a web server that has a new connection for each request."""

import os
import re
import subprocess
import time

from host import BUILD, run, stop
from report import spread

PAIRS = 12
SECONDS = 2.0

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


def wrk():
    """Requests a second."""
    out = run("wrk", "-t", "1", "-c", "32", "-d", f"{SECONDS:.0f}s", "-H", "Connection: close", "http://127.0.0.1:8080/")
    errors = re.search(r"Socket errors:.*|Non-2xx.*", out)
    if errors:
        raise RuntimeError(f"wrk: {errors.group(0)}")
    return float(re.search(r"Requests/sec:\s*([0-9.]+)", out).group(1))


def program_times(host):
    """ns a request of each program, by the kernel's own clock, which makes each run slower."""
    switch = "/proc/sys/kernel/bpf_stats_enabled"
    with open(switch, "w") as f:
        f.write("1")
    before = {p["name"]: p for p in host.status("obs/network")["programs"]}
    requests = wrk() * SECONDS
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


def measure(host, tar, mode):
    """Requests a second with the bundle on, off or filtered to another process."""
    if mode == "off":
        return wrk()
    host.load("install", tar)
    if mode == "filtered":
        host.load("set", "obs/network", "pid_include=1")
    reader = host.subscribe("50:tcp.", {})
    time.sleep(0.3)
    rate = wrk()
    stop(reader)
    host.load("remove", "obs/network")
    return rate


def network(host, report):
    report.section("nginx, a new connection for each request")
    tar = host.signed(os.path.join(BUILD, "bundles/network.tar"))
    with open(host.path("nginx.conf"), "w") as f:
        f.write(NGINX.format(tmp=host.tmp))
    host.start()
    nginx = subprocess.Popen(["nginx", "-p", host.tmp, "-c", host.path("nginx.conf")])
    time.sleep(0.5)
    with open("/proc/sys/net/ipv4/tcp_tw_reuse", "w") as f:
        f.write("1")
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
        f.write("1024 65000")
    wrk()
    modes = ["off", "on", "filtered"]
    rates = {mode: [] for mode in modes}
    for i in range(PAIRS):
        # Each comes first, second and last as often.
        for mode in modes[i % 3:] + modes[:i % 3]:
            rates[mode].append(measure(host, tar, mode))
    for mode in modes:
        report.row(f"requests/s, {mode}", spread(rates[mode], "{:.0f}"), samples=rates[mode])
    report.ratio(f"on / off, {PAIRS} interleaved pairs", [a / b for a, b in zip(rates["on"], rates["off"])], ">= 0.95",
                 lambda v: v >= 0.95)
    report.ratio(f"filtered to another process / off, {PAIRS} pairs", [a / b for a, b in zip(rates["filtered"], rates["off"])],
                 ">= 0.99", lambda v: v >= 0.99)
    host.load("install", tar)
    lines = [f"{ns:7.0f} ns a request  {name:<20} {runs:5.2f} runs of {each:5.0f} ns" for ns, name, runs, each in program_times(host)]
    report.text("the bundle's programs, by the kernel's clock:\n  " + "\n  ".join(lines), "programs' time")
    host.load("remove", "obs/network")
    stop(nginx)
    host.stop()
