"""Every attempt of ``attacks/jail.py``: in the jail, without its filter, and without a jail."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attacks import program
from attacks.jail import HARMFUL, JAILBREAKS, TOOLS, Jailbreak
from scripted import HONEST, Bench, Models, config, said

from inner_agent.sandbox import Mode

ROOT = Path(__file__).resolve().parents[1]
MARK = "a-key-that-no-harness-may-see"
STOLEN = {  # what lies beside a run, by the name that the attempts know it by
    "paper": "papers/other.txt", "candidate": "trees/1/harness.py", "run": "run.db",
    "calls": "calls.db", "config": "config.toml", "splits": "split.json",
}  # fmt: skip
VICTIM = f"key = '{MARK}'\nprint(id(key), flush=True)\ninput()"


def powers() -> int:
    """This process's effective capabilities, a bit each."""
    status = Path("/proc/self/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith("CapEff")).split()[1], 16)


# chown, read any file, raw packets, chroot, ptrace, administration, limits, devices.
MIGHTY = all(powers() >> bit & 1 for bit in (0, 2, 13, 18, 19, 21, 24, 27))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, socket.socket]]:
    """Somebody to talk to on this machine."""
    path = tmp_path_factory.mktemp("sockets") / "socket"
    named = {
        "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
        "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM, str(path)),
        "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0metaopt-test-{os.getpid()}"),
    }
    with ExitStack() as stack:
        made = {}
        for name, (family, kind, address) in named.items():
            if family == socket.AF_INET6 and not Path("/proc/net/if_inet6").exists():
                continue
            made[name] = stack.enter_context(socket.socket(family, kind))
            made[name].bind(address)
            made[name].setblocking(False)
            if kind == socket.SOCK_STREAM:
                made[name].listen()
        yield made


@pytest.fixture(scope="module")
def victim() -> Iterator[tuple[int, int]]:
    """A process that holds a key, and where in its memory that is; nothing may end it."""
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={"OPENAI_API_KEY": MARK},
    )  # fmt: skip
    assert process.stdout
    yield process.pid, int(process.stdout.readline())
    assert process.poll() is None
    process.communicate(b"\n")


@pytest.fixture
def host(
    tmp_path: Path, servers: dict[str, socket.socket], victim: tuple[int, int]
) -> dict[str, Any]:
    """What there is to get on this machine: files, sockets, and the other process."""
    paths = {key: tmp_path / "run" / name for key, name in STOLEN.items()}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MARK)
    known = {name: s.getsockname() for name, s in servers.items()}
    return {key: str(path) for key, path in paths.items()} | {
        "users": "/etc/passwd", "code": str(ROOT / "inner_agent" / "broker.py"),
        "tcp": known["tcp"][1], "tcp6": known.get("tcp6", (0, 0))[1], "udp": known["udp"][1],
        "unix": known["unix"], "abstract": known["abstract"][1:].decode(),
        "pid": victim[0], "address": victim[1], "mark": MARK,
    }  # fmt: skip


def heard(servers: dict[str, socket.socket]) -> list[str]:
    """The servers that somebody talked to."""
    called = []
    for name, server in servers.items():
        try:
            server.recv(9) if server.type == socket.SOCK_DGRAM else server.accept()[0].close()
        except BlockingIOError:
            continue
        called.append(f"heard on {name}")
    return called


def files_below(folder: Path) -> dict[str, bytes]:
    """What lies in the run's folder."""
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


async def attempted(
    attack: Jailbreak, folder: Path, mode: Mode, host: dict[str, Any],
    servers: dict[str, socket.socket],
) -> tuple[str, list[str]]:  # fmt: skip
    """The run's reason, and what the attempt got.  An honest rollout must work afterwards."""
    bench = Bench(folder, mode, Models(), config())
    before = files_below(folder / "run")
    rollout = await bench.run(program(attack.source, TOOLS, json.dumps(host)), **attack.limits)
    got = [words[1] for words in said(rollout) if words[0] == "got"] + heard(servers)
    if files_below(folder / "run") != before:
        got.append("changed files")
    if MARK in json.dumps(rollout.trajectory) and not got:
        got.append("the mark")
    assert len(rollout.trajectory["stderr"]) <= 8_000
    assert rollout.result.passed == (rollout.result.reason == "passed")
    honest = await bench.run(HONEST)
    assert honest.result.passed, honest.trajectory["stderr"]
    assert (honest.result.weak_avg, honest.result.strong_avg) == pytest.approx((0.4, 0.8))
    await bench.rig.gateway.close()
    return rollout.result.reason, got


def named(attacks: list[Jailbreak]) -> Any:
    """A test for each attempt."""
    return pytest.mark.parametrize("attack", attacks, ids=lambda a: a.name.replace(" ", "-"))


@named(JAILBREAKS)
@pytest.mark.usefixtures("bubblewrap")
async def test_the_jail_gives_nothing(
    attack: Jailbreak, tmp_path: Path, host: dict[str, Any], servers: dict[str, socket.socket]
) -> None:
    assert await attempted(attack, tmp_path, "bubblewrap", host, servers) == (attack.reason, [])


@named([a for a in JAILBREAKS if not (a.by == "filter" and (a.alone == HARMFUL or a.rare))])
@pytest.mark.usefixtures("bubblewrap", "no_filter")
async def test_without_the_filter_only_what_it_is_for_works(
    attack: Jailbreak, tmp_path: Path, host: dict[str, Any], servers: dict[str, socket.socket]
) -> None:
    reason, got = await attempted(attack, tmp_path, "bubblewrap", host, servers)
    if attack.by == "filter":
        assert (reason, bool(got)) == ("passed", True)
    elif not attack.rare:
        assert (reason, got) == (attack.reason, [])


@named([a for a in JAILBREAKS if not (a.alone or a.rare or (a.root and not MIGHTY))])
async def test_without_the_jail_it_works(
    attack: Jailbreak, tmp_path: Path, host: dict[str, Any], servers: dict[str, socket.socket]
) -> None:
    reason, got = await attempted(attack, tmp_path, "none", host, servers)
    assert (reason, bool(got)) == (attack.reason, attack.reason == "passed")
