"""What every test gets: no network, ``require``, real papers and a fake OpenAI server."""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, page  # noqa: F401  fixtures
from fake_openai import FakeOpenAI

from inner_agent import syscalls
from inner_agent.sandbox import bubblewrap_problem

os.environ["COLUMNS"] = "240"  # what is folded mustn't hang on the terminal that tests run in


class NetworkRefused(RuntimeError):
    """A test tried to reach beyond this machine."""


def _check(host: object) -> None:
    """Raise unless ``host`` (a name, an address or None) is this machine's loopback."""
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in ("", "localhost"):
        return
    try:
        if ipaddress.ip_address(str(name)).is_loopback:
            return
    except ValueError:
        pass  # a host name: looking it up already leaves the machine
    raise NetworkRefused(f"tests don't use the network, but this one wanted {name!r}")


def _refusing(call: Any) -> Any:
    """Wrap a method of ``socket.socket`` whose one argument is the address."""

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _check(address[0])
        return call(self, address)

    return guarded


def pytest_configure() -> None:
    """Close the network in this process, before any test module is imported."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        _check(host)
        return look_up(host, *args, **options)

    socket.getaddrinfo = getaddrinfo
    socket.socket.connect = _refusing(socket.socket.connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _refusing(socket.socket.connect_ex)  # type: ignore[method-assign]


def require(condition: object, reason: str) -> None:
    """Skip the test for ``reason`` unless ``condition`` holds.

    With ``METAOPT_REQUIRE=all`` the test fails instead, so that nothing is missing unnoticed
    where everything is meant to be there.
    """
    if condition:
        return
    if os.environ.get("METAOPT_REQUIRE") == "all":
        pytest.fail(f"required, but missing: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def bubblewrap() -> None:
    """Skip without a working bubblewrap."""
    require(bubblewrap_problem() is None, str(bubblewrap_problem()))


@pytest.fixture
def no_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jail with a filter that allows every system call, to try what the other layers hold."""
    path = tmp_path / "allow"
    path.write_bytes(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))  # return SECCOMP_RET_ALLOW
    monkeypatch.setattr(syscalls, "open_program", lambda: os.open(path, os.O_RDONLY))


@pytest.fixture(scope="session")
def papers() -> Path:
    """A folder of real papers (``papers.jsonl`` and ``text/``), named by ``METAOPT_PAPERS``."""
    folder = os.environ.get("METAOPT_PAPERS")
    # Nobody can be made to own a papers folder: without one these tests are skipped, always.
    if not folder:
        pytest.skip("METAOPT_PAPERS names no folder of papers")
    require(Path(folder, "papers.jsonl").is_file(), f"METAOPT_PAPERS={folder}: no papers.jsonl")
    return Path(folder)


@pytest.fixture
def fake_openai() -> Iterator[FakeOpenAI]:
    """A running fake OpenAI server: see ``fake_openai.FakeOpenAI``."""
    with FakeOpenAI() as server:
        yield server
