"""What crash tests ask of a host: the daemon under test, and what is in the kernel, on bpffs and on the disk.

Folders are those of lib.sh, below $E2E_TMP; names in the kernel start with $OBS_TEST_PREFIX, so that other tests may run
at the same time."""

import atexit
import collections
import ctypes
import hashlib
import json
import os
import platform
import subprocess
import time

import netlink

TMP = os.environ["E2E_TMP"]
OBSLOAD = os.environ["OBSLOAD"]
PREFIX = os.environ.get("OBS_TEST_PREFIX", "")

with open(f"{os.path.dirname(OBSLOAD)}/../libexec/obsload/worker", "rb") as program:
    # Its runtime keeps what was freed, and shadows all of it.
    INSTRUMENTED = b"libasan" in program.read()

# ---- the daemon ----


class Daemon:
    """obsload run; the folders stay the same from one to the next."""

    def __init__(self, **options):
        self.options = options
        self.process = None
        atexit.register(self.end)

    def end(self):
        """Also after a failure no daemon stays behind."""
        if self.process and self.process.poll() is None:
            self.stop()

    def start(self):
        with open(f"{TMP}/daemon.log", "ab") as log:
            self.process = subprocess.Popen(
                [OBSLOAD, "run", "--config-dir", f"{TMP}/etc", "--state-dir", f"{TMP}/state",
                 "--run-dir", f"{TMP}/run", "--bpffs", f"{TMP}/bpf"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait()

    def wait(self):
        end = time.monotonic() + 60
        while True:
            status = load("status", "--json", check=False)
            if status is not None:
                return status
            if self.process.poll() is not None:
                raise SystemExit(f"FAIL daemon: ended with {self.process.returncode}; its log: {log_tail()}")
            if time.monotonic() > end:
                raise SystemExit(f"FAIL daemon: does not answer; its log: {log_tail()}")
            time.sleep(0.01)

    def kill(self):
        """As the host would by losing power: nothing is undone."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


def log_tail(lines=30):
    with open(f"{TMP}/daemon.log", encoding="utf-8", errors="replace") as f:
        return "".join(f.readlines()[-lines:])


def run(command, *args):
    """Status and output of obsload COMMAND ARG..."""
    done = subprocess.run([OBSLOAD, command, "--run-dir", f"{TMP}/run", *args], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def load(command, *args, check=True):
    """What obsload COMMAND ARG... prints as JSON; None if it fails and need not succeed."""
    status, out, err = run(command, *args)
    if status == 0:
        return json.loads(out) if "--json" in args else out
    if check:
        raise SystemExit(f"FAIL obsload: {command} {' '.join(args)} ended with {status}: {err}; "
                         f"the daemon's log: {log_tail()}")
    return None


# ---- the kernel: bpf(2), since bpftool takes longer for each list than the daemon for a start ----

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
PROG_GET_NEXT_ID, MAP_GET_NEXT_ID, PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD = 11, 12, 13, 14, 15
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    return libc.syscall(SYS_BPF, command, attr, len(attr))


def names_in_kernel(next_id, by_id, name_at):
    """Name to ids of every object whose name starts with the prefix."""
    found = collections.defaultdict(list)
    at = 0
    while True:
        attr = ctypes.create_string_buffer(at.to_bytes(4, "little").ljust(16, b"\0"), 16)
        if bpf(next_id, attr) < 0:
            return dict(found)
        at = int.from_bytes(attr.raw[4:8], "little")
        fd = bpf(by_id, ctypes.create_string_buffer(at.to_bytes(4, "little").ljust(16, b"\0"), 16))
        if fd < 0:
            continue
        info = ctypes.create_string_buffer(256)
        query = fd.to_bytes(4, "little") + (256).to_bytes(4, "little") + ctypes.addressof(info).to_bytes(8, "little")
        if bpf(OBJ_GET_INFO_BY_FD, ctypes.create_string_buffer(query, 16)) == 0:
            name = info.raw[name_at:name_at + 16].split(b"\0")[0].decode()
            if PREFIX and name.startswith(PREFIX):
                found[name].append(at)
        os.close(fd)


def programs():
    return names_in_kernel(PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID, 64)


def maps():
    return names_in_kernel(MAP_GET_NEXT_ID, MAP_GET_FD_BY_ID, 24)


# ---- everything that must agree ----


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def tree(folder, content):
    """Every path below a folder, with what content(path) says of a file."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(f"{at}/{name}", folder)] = "folder"
        for name in files:
            found[os.path.relpath(f"{at}/{name}", folder)] = content(f"{at}/{name}")
    return found


def stored(path):
    name = os.path.basename(path)
    if name == "state.json":
        with open(path, encoding="utf-8") as f:
            state = json.load(f)
        for bundle in state["bundles"]:
            bundle.get("installed", {}).pop("at", None)
        return json.dumps(state, sort_keys=True)
    # Grows with every request and start.
    return "log" if name.startswith("audit") else digest(path)


def trusted():
    """Who may sign what: a certificate that is granted nothing admits nothing."""
    return sorted((s["signer"], json.dumps(s["names"])) for s in load("trust", "list", "--json")["signers"] if s["names"])


def filters(interface):
    return {"filters": [sum(PREFIX in name for name in names) for names in netlink.filters(interface).values()],
            "xdp": netlink.has_xdp(interface), "clsact": "clsact" in netlink.qdiscs(interface)}


def maps_pinned(pins):
    """Name to number of the maps that are pinned: <name>/<serial>/maps/<object>:<map>."""
    names = (os.path.basename(pin).split(":")[-1] for pin in pins if os.path.basename(os.path.dirname(pin)) == "maps")
    return dict(sorted(collections.Counter(name for name in names if name.startswith(PREFIX)).items()))


def everything(interface="lo"):
    """The whole host as a bundle could have changed it."""
    status = load("status", "--json")
    ids = sorted(p["id"] for b in status["bundles"] for p in b["programs"] if p["id"])
    inside = programs()
    held = {name: len(each) for name, each in sorted(maps().items())}
    pins = sorted(tree(f"{TMP}/bpf", lambda path: "pin"))
    return {
        "bundles": [(b["name"], b["serial"], b["state"], sorted((p["name"], p["state"]) for p in b["programs"]))
                    for b in status["bundles"]],
        "programs": {name: len(each) for name, each in sorted(inside.items())},
        "agrees": sorted(i for each in inside.values() for i in each) == ids and held == maps_pinned(pins),
        "params": [[(p["name"], p["value"]) for p in b["parameters"]] for b in load("params", "--json")["bundles"]],
        "trust": trusted(),
        "bpffs": pins,
        "state": tree(f"{TMP}/state", stored),
        "etc": sorted(p for p in tree(f"{TMP}/etc", digest) if not p.endswith(".pem")),
        "interface": filters(interface),
        "audit": run("audit", "--json")[0],
        "maps": held,
    }


def difference(one, other):
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def rested():
    """The host, once no program is in the kernel that the daemon does not know, and no map that is not pinned."""
    end = time.monotonic() + 10
    while True:
        now = everything()
        if now["agrees"]:
            return now
        if time.monotonic() > end:
            raise SystemExit(f"FAIL rest: the kernel and the daemon do not agree after ten seconds: {now}; log: {log_tail()}")
        time.sleep(0.02)


def released(*expected, wait=10):
    """Waits until as many programs and maps are in the kernel as with one of those expected, at most so many seconds: they leave
    it after a grace period. Whether they were."""
    end = time.monotonic() + wait
    while True:
        now = [{name: len(each) for name, each in inside.items()} for inside in (programs(), maps())]
        if any(now == [each["programs"], each["maps"]] for each in expected):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.002)


def settled(*expected, wait=10):
    """The host, once it is one of those expected; as it is after so many seconds if it is none of them."""
    end = time.monotonic() + wait
    while True:
        released(*expected, wait=end - time.monotonic())
        now = everything()
        if now in expected or time.monotonic() > end:
            return now
        time.sleep(0.02)
