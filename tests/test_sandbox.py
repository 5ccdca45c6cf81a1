"""The layers of the jail one by one, and what they leave to a harness.

What they keep it from is in ``attacks/jail.py``.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from scripted import HONEST, Bench, Models, config, said

from inner_agent import sandbox, syscalls
from inner_agent.errors import UserError
from inner_agent.sandbox import Mode, bubblewrap_problem, choose_mode
from inner_agent.settings import Limits


def bench(folder: Path, mode: Mode, **limits: float) -> Bench:
    """A bench with the usual models."""
    return Bench(folder, mode, Models(), config(limits=limits))


ORDINARY = """
import asyncio, concurrent.futures, shutil, signal, sqlite3, tempfile, zipfile
def threads():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(abs, range(100)))

async def waited():
    reply = await asyncio.wait_for(asyncio.to_thread(str, 1), 5)
    return reply + (await asyncio.to_thread(open, "paper.txt")).read()[:1]

def files():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree("/harness", folder + "/copy")
        shutil.copy2("paper.txt", folder + "/paper.txt")
        shutil.make_archive(folder + "/copy", "zip", folder + "/copy")
        shutil.move(folder + "/copy.zip", "copy.zip")
    return zipfile.ZipFile("copy.zip").namelist()

def database():
    with sqlite3.connect("notes.db") as base:
        base.execute("CREATE TABLE t (a)")
        base.execute("INSERT INTO t VALUES (1)")
        return base.execute("SELECT a FROM t").fetchone()[0]

def alarm():
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    return signal.pause()

say("threads", threads())
say("asyncio", asyncio.run(waited()))
say("files", files())
say("database", database())
say("alarm", alarm())
"""


@pytest.mark.usefixtures("bubblewrap")
async def test_what_a_harness_may_need_works(tmp_path: Path) -> None:
    tried = bench(tmp_path, "bubblewrap")
    rollout = await tried.run(f"{ORDINARY}\n{HONEST}")
    assert dict(said(rollout)) == {
        "threads": 4950, "asyncio": "1#", "files": ["harness.py"], "database": 1, "alarm": None
    }, rollout.trajectory["stderr"]  # fmt: skip
    assert rollout.result.passed
    await tried.rig.gateway.close()


@pytest.mark.usefixtures("bubblewrap")
def test_without_libseccomp_there_is_no_jail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    monkeypatch.setattr(syscalls, "_program", syscalls._program.__wrapped__)
    problem = bubblewrap_problem.__wrapped__()
    assert problem == "the filter of system calls can't be made (libseccomp isn't installed)"
    monkeypatch.setattr(sandbox, "bubblewrap_problem", lambda: problem)
    with pytest.raises(UserError, match=r"apt-get install bubblewrap libseccomp2"):
        choose_mode(config(sandbox={"mode": "bubblewrap"}))


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
# A look, for a byte taken away would be missing in the reply that the harness waits for.
grandchild += "socket.socket(fileno=int(sys.argv[1])).recv(1, socket.MSG_PEEK)\\n" + {then!r}
subprocess.Popen(
    [sys.executable, "-c", grandchild, str(FD), token], start_new_session=True, pass_fds=[FD],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
"""


@pytest.mark.parametrize("ending", ["time.sleep(600)", "SOCKET.close(); LINES.close()", HONEST])
@pytest.mark.usefixtures("bubblewrap", "no_filter")
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


def test_limits_that_no_harness_can_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would be a crash, and so a score."""
    allowed = {resource.RLIMIT_AS: 10**9, resource.RLIMIT_CPU: 50, resource.RLIMIT_FSIZE: 2**20}
    monkeypatch.setattr(resource, "getrlimit", lambda number: (1, allowed[number]))
    fit = {"memory_mb": 900, "cpu_s": 49, "file_mb": 1}
    choose_mode(config(limits=fit, sandbox={"mode": "none"}))
    for name, value in (("memory_mb", 1000), ("cpu_s", 50), ("file_mb", 2)):
        with pytest.raises(UserError, match=rf"limits\.{name} = {value}: .*\(ulimit -H"):
            choose_mode(config(limits=fit | {name: value}, sandbox={"mode": "none"}))
