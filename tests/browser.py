"""A headless Chromium for tests, and a server for it: nothing may go wrong on a page unnoticed.

``page`` is a ``Watched``: console errors and warnings, errors of scripts, failed requests, answers
of 400 and above, violations of the content security policy, dialogs, other windows, downloads and
requests that leave this machine all count as problems, and the test fails if there is one.

While a browser is open a loop of playwright's runs in the test's thread: what itself needs a loop
goes through ``aside``.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from playwright import sync_api
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

T = TypeVar("T")
# As root it has no sandbox of its own; and it is to ask for nothing by itself.
ARGUMENTS = (
    "--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (e) =>
    console.error(`policy ${e.violatedDirective} broken by ${e.blockedURI} ${e.sample}`))"""


@dataclass
class Watched:
    """A page, and what went wrong on it and its followers.  ``asked`` are all addresses that it
    asked for."""

    page: Page
    problems: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        """Listen to everything in ``context``, which has no page yet but this one."""
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)
        context.on("console", self._console)
        context.on("weberror", lambda e: self.problems.append(f"script: {e.error}"))
        context.on("dialog", lambda d: (self.problems.append(f"dialog: {d.message}"), d.dismiss()))
        context.on("page", lambda p: self.problems.append(f"another window: {p.url}"))
        self.page.on("download", lambda d: self.problems.append(f"download: {d.url}"))

    def open(self, address: str) -> None:
        """Go there; returns when all of it is loaded."""
        self.page.goto(address, wait_until="load")

    def _request(self, request: Request) -> None:
        self.asked.append(request.url)
        place = urlsplit(request.url)
        if place.scheme not in ("data", "blob", "about", "file") and place.hostname != "127.0.0.1":
            self.problems.append(f"left this machine: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by going on to another page
            self.problems.append(f"failed: {request.url} ({request.failure})")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running Chromium; skipped where there is none."""
    from conftest import require

    program = shutil.which("chromium")
    require(program, "chromium (Debian's package of that name)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Watched]:
    """An empty page, 1440 wide; at the end nothing may have gone wrong on it."""
    with watched(chromium) as made:
        yield made
    assert made.problems == []


@contextmanager
def watched(chromium: Browser, width: int = 1440) -> Iterator[Watched]:
    """An empty page in a browser that knows of no other; the caller looks at its problems."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, locale="en-US", timezone_id="UTC"
    )
    context.set_default_timeout(30_000)
    context.add_init_script(_VIOLATIONS)
    made = Watched(context.new_page())
    made.watch(context)
    yield made
    context.close()


@contextmanager
def served(*runs: Path) -> Iterator[str]:
    """``metaopt view`` on these runs, with a cache of its own; gives its address, without a slash
    at the end."""
    command = [sys.executable, "-m", "analysis", "view", *map(str, runs), "--port", "0"]
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache,  # searches keep theirs
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"XDG_CACHE_HOME": cache}
        ) as server,
    ):
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.match(r"http://127\.0\.0\.1:\d+(?=/)", said)
            assert found, said
            yield found[0]
        finally:
            server.terminate()
            server.wait()


def aside(work: Callable[[], T]) -> T:
    """Do ``work`` in a thread of its own, where no loop runs."""
    assert threading.current_thread() is threading.main_thread()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()
