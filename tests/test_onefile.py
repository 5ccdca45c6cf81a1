"""The report in one file, as a colleague opens it: in a real Chromium, from disk, offline."""

import re
from pathlib import Path

import big_run
import hostile
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Watched, aside, watched
from playwright.sync_api import Browser, expect

from analysis.cli import app
from metaopt.cli import invoke
from metaopt.record import open_record
from metaopt.state import winner

CHARTS = ("course", "lineage", "papers", "failures", "spending")


def report(run: Path, out: Path, *options: str) -> str:
    """Write it by the command; gives the file's address."""
    assert invoke(app, ["report", str(run), "--out", str(out), *options]) == 0
    return out.as_uri()


def draw_all(page: Watched) -> None:
    """Have all charts drawn."""
    for name in CHARTS:
        chart = page.page.locator(f"[data-chart={name}]")
        chart.scroll_into_view_if_needed()
        expect(chart).to_have_attribute("data-drawn", "yes")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of some iterations."""
    return aside(lambda: big_run.build(tmp_path_factory.mktemp("r") / "small", 12, minibatch=4))


@pytest.mark.parametrize("width", [1440, 800])
def test_all_is_in_one_file(small: Path, tmp_path: Path, chromium: Browser, width: int) -> None:
    record = open_record(small)
    best = winner(record.state).id
    with watched(chromium, width) as page:
        address = report(small, tmp_path / "r.html", "--sample", "4")
        page.open(address)
        draw_all(page)
        tab = page.page
        assert tab.locator("details.one [id^='candidate-']").count() == len(record.stages)
        papers = tab.locator("section.paper > .note > bdi").all_text_contents()
        assert len(set(papers)) == 4
        assert 4 <= len(papers) <= 8  # where a change fixed or broke one, its parent's too
        assert "SIMULATED" in tab.locator(".simulated").inner_text()
        # A link to what lies folded unfolds it; the best's page leads to a rollout in full.
        expect(tab.locator(f"#candidate-{best}")).to_be_hidden()
        tab.locator("#iterations tr.best a").first.click()
        expect(tab.locator(f"#candidate-{best}")).to_be_visible()
        tab.locator(f"#candidate-{best} a[href^='#paper-']").first.click()
        expect(tab.locator("section.paper:visible")).to_have_count(1)
        tab.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
        found = Axe().run(tab).response["violations"]
        bad = [(v["id"], v["nodes"][0]["html"][:200]) for v in found
               if v["impact"] in ("serious", "critical")]  # fmt: skip
        assert bad == []
        dead = tab.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href'))"
            ".filter((h) => !document.getElementById(decodeURIComponent(h.slice(1))))"
        )
        assert dead == []
        assert page.asked == [address]
        assert page.problems == []


def test_what_models_write_is_text_there_too(tmp_path: Path, chromium: Browser) -> None:
    evil = aside(lambda: big_run.build(tmp_path / "run <b>&amp;'", 5, minibatch=3, hostile=True))
    with watched(chromium) as page:
        page.open(report(evil, tmp_path / "r.html"))
        draw_all(page)
        tab = page.page
        tab.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
        assert tab.evaluate(f"typeof window.{hostile.CANARY}") == "undefined"
        assert tab.locator("iframe, object, embed, [onerror], [onload], [onclick]").count() == 0
        assert any(mark in tab.inner_text("main") for mark in hostile.MARKS[:4])
        assert len(page.asked) == 1
        assert page.problems == []


def test_what_is_asked_for_wrongly_is_one_line(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.html"
    for options, said in (
        (["--out", str(out), "--paper", "nobody's"], "--paper nobody's: .*wasn't validated on it"),
        (["--out", str(tmp_path / "no" / "r.html")], "no folder .*no; make it first"),
        (["--out", str(tmp_path / "r.pdf")], "write it as one of .html, .md"),
    ):
        assert invoke(app, ["report", str(small), *options]) == 2
        told = capsys.readouterr().err
        assert re.search(said, told)
        assert told.count("\n") == 1
    assert not out.exists()
    paper = next(iter(open_record(small).stages[1]["validated"]["papers"]))
    report(small, out, "--paper", paper)
    assert out.read_text(encoding="utf-8").count('<section class="paper"') in (1, 2)
