"""Installs bundles that must be refused: refuse.py OBSLOAD RUN STATE BPFFS ETC CODES FOLDER, the file CODE~NAME.tar with
that code. After each, the audit log has one more line, which says so, and everything that an install could leave is as
before: stored bytes, pins, state, trust, and descriptors of kernel objects in the monitor; after the last of each code,
also the kernel's programs of that name. Prints `ok NAME` and `FAIL NAME: reason`."""
import collections, hashlib, json, os, re, subprocess, sys, time

obsload, run, state, bpffs, etc, codes, folder = sys.argv[1:]
audit = os.path.join(state, "audit.log")
status = {name: int(number) for name, number in re.findall(r'X\([A-Z0-9_]+, "([a-z_.]+)", (\d+),', open(codes).read())}


def ask(*words):
    return json.loads(subprocess.run([obsload, *words, "--run-dir", run, "--json"], capture_output=True, check=True).stdout)


told = ask("status")
monitor = told["daemon"]["pid"]
program = told["bundles"][0]["programs"][0]["name"]


def programs():
    listed = json.loads(subprocess.run(["bpftool", "-j", "prog", "list"], capture_output=True, check=True).stdout)
    return sorted((p["id"], p.get("tag")) for p in listed if p.get("name") == program)


def footprint():
    found = []
    for top in (state, bpffs, etc):
        for where, folders, files in os.walk(top):
            found += [os.path.join(where, name) for name in folders]
            # The audit log is what does change.
            for name in files if top != state else [f for f in files if not f.startswith("audit")]:
                path = os.path.join(where, name)
                found.append(path)
                if top != bpffs:
                    found[-1] += " " + hashlib.sha256(open(path, "rb").read()).hexdigest()
    held = collections.Counter()
    for fd in os.listdir(f"/proc/{monitor}/fd"):
        try:
            held[os.readlink(f"/proc/{monitor}/fd/{fd}")] += 1
        except FileNotFoundError:
            pass
    return sorted(found) + sorted(f"{k} {v}" for k, v in held.items() if re.search("bpf|obsload-(bundle|file|input)", k))


def entries():
    with open(audit, "rb") as f:
        return f.read().splitlines()


def refuse(path, code):
    lines = len(entries())
    done = subprocess.run([obsload, "install", "--run-dir", run, path], capture_output=True, timeout=120)
    said = done.stderr.decode(errors="replace")
    if done.returncode != status[code] or f"[{code}]" not in said:
        return f"expected [{code}] and status {status[code]}, got status {done.returncode}: {said}"
    after = entries()
    # The client does not even ask about a file that is too large.
    if os.path.getsize(path) <= 64 << 20:
        last = json.loads(after[-1])
        if len(after) != lines + 1 or last["verdict"] != "refused" or last["code"] != code:
            return f"{len(after) - lines} lines in the audit log, the last {last}"
    return ""


before, before_programs = footprint(), programs()
names = sorted(name for name in os.listdir(folder) if "~" in name and not name.startswith("ok~"))
for i, name in enumerate(names):
    code = name.split("~")[0]
    reason = refuse(os.path.join(folder, name), code)
    now = footprint()
    # The answer is out before its descriptors are closed.
    until = time.monotonic() + 2
    while now != before and time.monotonic() < until:
        time.sleep(0.05)
        now = footprint()
    if not reason and now != before:
        reason = f"it left {set(now) ^ set(before)}"
    if i + 1 == len(names) or names[i + 1].split("~")[0] != code:
        now_programs = programs()
        if not reason and now_programs != before_programs:
            reason = f"programs were {before_programs}, are {now_programs}"
        before_programs = now_programs
    before = now
    print(f"FAIL {name}: {reason}" if reason else f"ok {name}", flush=True)
