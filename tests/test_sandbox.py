"""The jail against harnesses that try to get out of it: each attack is really made.

The same attacks run without the jail too, where some of them succeed: so they can.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import require
from scripted import HONEST, Bench, Models, config, said

from inner_agent import sandbox
from inner_agent.errors import UserError
from inner_agent.sandbox import Mode, bubblewrap_problem, choose_mode
from inner_agent.settings import Limits

SECRET = "a-key-that-no-harness-may-see"

ATTACKS = """
import ctypes, signal
def attempt(name, attack):
    try:
        got = attack()
    except BaseException:
        return
    if name and got is not None:
        say(name, str(got)[:200])

def read(path):
    with open(path, "rb") as file:
        return file.read(100)

def write(path):
    with open(path, "ab") as file:
        file.write(b"#")
    return path

def connect(family, kind, address):
    with socket.socket(family, kind) as s:
        s.settimeout(2)
        s.connect(address)
        return s.send(b"hello")

def kill(pid):
    os.kill(pid, 0)
    return pid

def truth(value):
    return value or None

HOST = json.loads(HOST)
for path in HOST["read"]:
    attempt("read " + path, lambda: read(path))
    attempt("list " + path, lambda: os.listdir(os.path.dirname(path)))
for path in HOST["write"]:
    attempt("write " + path, lambda: write(path))
attempt("tcp", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", HOST["tcp"])))
attempt("", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", HOST["udp"])))
attempt("unix", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + HOST["unix"]))
attempt("names", lambda: socket.create_connection(("example.org", 80), 2))
attempt("kill", lambda: kill(HOST["pid"]))
attempt("kill all", lambda: truth([p for p in range(100, 1000) if not os.kill(p, 0)]))
attempt("see", lambda: os.listdir("/proc"))
attempt("environment", lambda: truth([v for v in os.environ.values() if "key" in v]))
attempt("parent's environment", lambda: read(f"/proc/{HOST['pid']}/environ"))
attempt("namespace", lambda: truth(ctypes.CDLL(None).unshare(0x10000000) == 0))
attempt("nested jail", lambda: subprocess.run(
    ["bwrap", "--ro-bind", "/", "/", "true"], check=True, capture_output=True))
attempt("descriptors", lambda: truth([
    n for n in range(3, 64) if n not in (FD, LINES.fileno()) and os.path.sameopenfile(n, n)]))
say("done")
"""


@pytest.fixture
def bubblewrap() -> None:
    """Skip without a working bubblewrap."""
    require(bubblewrap_problem() is None, str(bubblewrap_problem()))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Something to steal, to break and to talk to on this machine."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "other.txt").write_text("another paper")
    root = Path(__file__).resolve().parents[1]
    with ExitStack() as stack:
        servers = {}
        for name, family, kind, address in (
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("unix", socket.AF_UNIX, socket.SOCK_STREAM, f"\0metaopt-test-{os.getpid()}"),
        ):
            servers[name] = stack.enter_context(socket.socket(family, kind))
            servers[name].bind(address)
            if kind == socket.SOCK_STREAM:
                servers[name].listen()
        yield {
            "read": [
                "/etc/passwd", "/etc/hostname", "/proc/1/cmdline", str(tmp_path / "calls.db"),
                str(tmp_path / "papers" / "other.txt"), str(root / "pyproject.toml"), __file__,
            ],
            "write": [
                "/x", "/usr/x", "/usr/bin/python3", "/bin/x", "/dev/x", "/dev/shm/x", "/etc/x",
                "/harness/x", "/harness/harness.py", "/work/paper.txt", str(tmp_path / "calls.db"),
            ],
            "tcp": servers["tcp"].getsockname()[1],
            "udp": servers["udp"].getsockname()[1],
            "unix": servers["unix"].getsockname()[1:].decode(),
            "pid": os.getpid(),
            "servers": servers,
        }  # fmt: skip


def bench(folder: Path, mode: Mode, **limits: float) -> Bench:
    """A bench with the usual models."""
    return Bench(folder, mode, Models(), config(limits=limits))


async def attacked(folder: Path, mode: Mode, host: dict[str, Any]) -> dict[str, str]:
    """What the attacks got; the one after them must be able to work."""
    servers = host.pop("servers")
    tried = bench(folder, mode)
    source = f"HOST = {json.dumps(json.dumps(host))}\n{ATTACKS}\n{HONEST}"
    rollout = await tried.run(source)
    *got, [done] = said(rollout)
    assert done == "done"
    assert rollout.result.passed
    assert (await tried.run(HONEST)).result.passed
    await tried.rig.gateway.close()
    return dict(got) | {f"heard on {name}": "hello" for name in servers if heard(servers[name])}


def heard(server: socket.socket) -> bool:
    """Did anybody connect, or send a datagram?"""
    server.setblocking(False)
    try:
        server.recv(9) if server.type == socket.SOCK_DGRAM else server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.usefixtures("bubblewrap")
async def test_no_attack_gets_anything(tmp_path: Path, host: dict[str, Any]) -> None:
    assert await attacked(tmp_path, "bubblewrap", host) == {}


async def test_without_the_jail_the_attacks_work(tmp_path: Path, host: dict[str, Any]) -> None:
    harmless = [str(tmp_path / "calls.db")]
    got = await attacked(tmp_path, "none", host | {"write": [*harmless, "/no/such/folder/x"]})
    assert got.keys() >= {
        "read /etc/passwd", f"write {harmless[0]}", "kill", "see",
        "heard on tcp", "heard on udp", "heard on unix",
    }  # fmt: skip
    assert "environment" not in got  # cleared even so
    assert SECRET not in got.values()


@pytest.mark.usefixtures("bubblewrap")
async def test_memory_disk_and_cpu_are_limited(tmp_path: Path) -> None:
    small = bench(tmp_path, "bubblewrap", memory_mb=200, file_mb=2, cpu_s=1)
    rollout = await small.run("x = [bytearray(1 << 20) for _ in range(400)]")
    assert rollout.result.reason == "crashed"
    assert rollout.result.detail == "MemoryError"
    rollout = await small.run(
        """
        for folder in ("/work", "/tmp", "/", "/dev", "/dev/shm", "/harness"):
            written = 0
            try:
                for n in range(8):
                    with open(f"{folder}/f{n}", "wb", buffering=0) as file:
                        written += file.write(bytes(1 << 20))
            except OSError:
                pass
            say(folder, written >> 20)
        """
    )
    mb = dict(said(rollout))
    assert mb == {"/work": 2, "/tmp": 2, "/": 0, "/dev": 0, "/dev/shm": 0, "/harness": 0}
    assert (await small.run("while True: pass")).result.reason == "crashed"
    flood = await small.run("while True: os.write(2, b'y' * 100_000)")
    assert flood.result.reason == "crashed"
    assert len(flood.trajectory["stderr"]) <= 8_000
    assert (await small.run(HONEST)).result.passed
    await small.rig.gateway.close()


@pytest.mark.usefixtures("bubblewrap")
def test_processes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody other than root, whom the kernel exempts from this limit."""
    usr = ("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin")
    libraries = ("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64")
    monkeypatch.setattr(sandbox, "_runtime", lambda: usr + libraries)  # no interpreter of root's
    user: dict[str, Any] = (
        {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    forks = "n=0; while [ $n -lt 100 ]; do sleep 60 & n=$((n + 1)); done; echo all"

    def output(limit: list[str]) -> str:
        jail = [*sandbox._bubblewrap([], Limits()), "--", *limit, "/bin/sh", "-c", forks]
        done = subprocess.run(jail, capture_output=True, text=True, check=False, cwd="/", **user)
        return done.stdout + done.stderr

    assert "all" in output([])
    limited = output(sandbox._rlimits(Limits(), 64))
    assert "all" not in limited
    assert "fork" in limited


GRANDCHILD = """
token = {token!r}
grandchild = "import socket, sys, time\\n"
grandchild += "socket.socket(fileno=int(sys.argv[1])).recv(1)\\n" + {then!r}
subprocess.Popen(
    [sys.executable, "-c", grandchild, str(FD), token], start_new_session=True, pass_fds=[FD],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
"""


@pytest.mark.parametrize("ending", ["time.sleep(600)", "SOCKET.close(); LINES.close()", HONEST])
@pytest.mark.usefixtures("bubblewrap")
async def test_a_detached_grandchild_with_the_socket_is_ended_too(
    tmp_path: Path, ending: str
) -> None:
    token = f"token-{os.getpid()}-{len(ending)}"
    source = GRANDCHILD.format(token=token, then="time.sleep(600)")
    tried = bench(tmp_path, "bubblewrap")
    rollout = await tried.run(f"{source}\n{ending}", idle_s=2 if "600" in ending else 120)
    assert rollout.result.reason == {"t": "timed_out", "S": "no_result", "e": "passed"}[ending[0]]
    mine = [p for p in psutil.process_iter(["cmdline"]) if token in (p.info["cmdline"] or ())]
    assert not psutil.wait_procs(mine, timeout=60)[1]
    assert (await tried.run(HONEST)).result.passed
    await tried.rig.gateway.close()


async def test_without_the_jail_a_grandchild_cannot_hold_up_the_end(tmp_path: Path) -> None:
    source = GRANDCHILD.format(token="any", then="")  # it ends when our end of the socket does
    tried = bench(tmp_path, "none")
    assert (await tried.run(f"{source}\ntime.sleep(600)", idle_s=1)).result.reason == "timed_out"
    assert (await tried.run(HONEST)).result.passed
    await tried.rig.gateway.close()


def test_real_endpoints_want_a_jail(monkeypatch: pytest.MonkeyPatch) -> None:
    real = {"e": {"base_url": "http://127.0.0.1:1/v1"}}
    assert choose_mode(config(endpoints=real, sandbox={"mode": "none"})) == "none"
    monkeypatch.setattr("inner_agent.sandbox.bubblewrap_problem", lambda: "bubblewrap is missing")
    assert choose_mode(config()) == "none"  # nothing but the simulator: worth a demo
    for refused in (config(endpoints=real), config(sandbox={"mode": "bubblewrap"})):
        with pytest.raises(UserError, match=r"bubblewrap is missing; install .* sandbox\.mode"):
            choose_mode(refused)
