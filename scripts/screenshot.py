"""The pictures of the README: what ``metaopt view`` shows of the run that ``make demo`` made.

    .venv/bin/python scripts/screenshot.py populations/demo docs/

Needs the extra ``test`` and Debian's chromium (``make test`` installs both).
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTH, HEIGHT = 1360, 1020
CHROMIUM = "/usr/bin/chromium"


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of the run's pages."""
    command = [sys.executable, "-m", "analysis", "view", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.terminate()


def take(page: Page, address: str, out: Path) -> None:
    """The first page, and the storyboard of the best's first paper that passed."""
    page.goto(address)
    page.wait_for_selector("[data-chart=course][data-drawn]")
    page.wait_for_selector("#meter table")
    page.screenshot(path=out / "view.png")
    page.click("#iterations tr.best a")
    page.click("#papers .tag.passed a")
    page.screenshot(path=out / "storyboard.png")


def main(run: Path, out: Path) -> None:
    """Both pictures into ``out``."""
    with served(run) as address, sync_playwright() as playwright:
        # As root, which containers often are, chromium has no sandbox of its own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        take(page, address, out)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
