"""What the benches run on: a mount and a network namespace of their own, folders that go at the end, a daemon, bundles."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))


def tool(name):
    """A program of tests/bench/."""
    return os.path.join(BUILD, "bench", name)


def run(*words, **options):
    """Runs to the end; its output, or an error that says what it said."""
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if result.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout


def timed(*words, **options):
    """Seconds that it took."""
    start = time.monotonic()
    run(*words, **options)
    return time.monotonic() - start


def stop(process, by=signal.SIGTERM):
    """Ends a process that was started here; its output."""
    process.send_signal(by)
    out = process.communicate(timeout=60)[0]
    return out


def wait_until(what, test, seconds=30):
    until = time.monotonic() + seconds
    while not test():
        if time.monotonic() > until:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


class Host:
    def __init__(self):
        self.tmp = tempfile.mkdtemp(prefix="obs-bench.")
        os.chmod(self.tmp, 0o755)
        atexit.register(self.close)
        self.daemon = None
        self.key = self.path("key")
        os.mkdir(self.path("bpf"))
        run("mount", "-t", "bpf", "bpf", self.path("bpf"))
        if not os.path.isdir("/sys/kernel/tracing/events"):
            run("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing")
        run("ip", "link", "set", "lo", "up")
        run(os.path.join(BUILD, "bin/obspkg"), "keygen", "--out", self.key, "--name", "bench")

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    def close(self):
        self.stop()
        subprocess.run(["umount", self.path("bpf")], check=False)
        shutil.rmtree(self.tmp, ignore_errors=True)

    def pkg(self, *words):
        env = dict(os.environ, OBS_INCLUDE=os.path.join(ROOT, "bpf/include"))
        return run(os.path.join(BUILD, "bin/obspkg"), *words, env=env)

    def signed(self, tar, name=None):
        """A signed copy."""
        to = self.path(name or os.path.basename(tar))
        self.pkg("sign", tar, "-o", to, "--key", self.path("key/signer.key"), "--cert", self.path("key/signer.pem"))
        return to

    def unpacked(self, tar):
        to = tar + ".d"
        if not os.path.isdir(to):
            os.mkdir(to)
            run("tar", "xf", tar, "-C", to)
        return to

    def load(self, command, *words):
        return run(os.path.join(BUILD, "bin/obsload"), command, "--run-dir", self.path("run"), *words)

    def start(self):
        """A daemon without bundles."""
        self.stop()
        for name in ("etc", "state", "run"):
            shutil.rmtree(self.path(name), ignore_errors=True)
        self.start_again()
        self.load("trust", "add", self.path("key/signer.pem"), "--names", "*")

    def start_again(self):
        """With what is installed."""
        log = open(self.path("daemon.log"), "a")
        self.daemon = subprocess.Popen(
            [os.path.join(BUILD, "bin/obsload"), "run", "--config-dir", self.path("etc"), "--state-dir", self.path("state"),
             "--run-dir", self.path("run"), "--bpffs", self.path("bpf")], stdout=log, stderr=log)
        wait_until("the daemon", lambda: self.daemon.poll() is None and self.answers())

    def answers(self):
        try:
            return bool(self.load("list"))
        except RuntimeError:
            return False

    def stop(self):
        if not self.daemon:
            return
        for bundle in json.loads(self.load("list", "--json"))["bundles"]:
            self.load("remove", bundle["name"])
        self.daemon.terminate()
        self.daemon.wait(30)
        self.daemon = None

    def lost(self, name):
        return self.status(name)["lost"]

    def status(self, name):
        return next(b for b in json.loads(self.load("status", "--json"))["bundles"] if b["name"] == name)

    def subscribe(self, match, request):
        """A reader that only counts lines with a text at a place; ends with stop()."""
        return subprocess.Popen([tool("count"), match, self.path("run/events.sock"), json.dumps(request)],
                                stdout=subprocess.PIPE, text=True)

    # ---- what the daemon's processes take ----

    def processes(self):
        """Pid by name of program."""
        found = {}
        todo = [self.daemon.pid]
        while todo:
            pid = todo.pop()
            with open(f"/proc/{pid}/comm") as f:
                found["supervisor" if pid == self.daemon.pid else f.read().strip()] = pid
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                todo += [int(child) for child in f.read().split()]
        return found

    def pss_kb(self):
        return {name: pss_kb(pid) for name, pid in self.processes().items()}

    def cpu_ns(self):
        return {name: cpu_ns(pid) for name, pid in self.processes().items()}


def pss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def cpu_ns(pid):
    """Of all threads, in ns rather than ticks."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def wakeups(pid):
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("voluntary"))
    return total
