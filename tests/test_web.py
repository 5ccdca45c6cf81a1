"""The web pages, in a real Chromium: followed, clicked through, attacked, and read by machine."""

import hashlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import big_run
import hostile
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Watched, aside, served, watched
from playwright.sync_api import Browser, expect

POINTS = "#course .scatterlayer path.point"
DRAWN = '#{}[aria-labelledby] [data-drawn="yes"]'
PAPERS = "#papers td a"  # of a candidate's page: its storyboards


def bytes_of(folder: Path) -> dict[str, str]:
    """A digest of every file; SQLite's shared memory aside, which readers use too."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(("-shm", "-wal")))
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(files)
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of some iterations.  Whatever was looked at, it is as it was."""
    folder = tmp_path_factory.mktemp("small") / "small"
    made = aside(lambda: big_run.build(folder, 12, minibatch=4))
    before = bytes_of(made)
    yield made
    assert bytes_of(made) == before


@pytest.fixture(scope="module")
def at(small: Path) -> Iterator[str]:
    """The address of a server of the small run."""
    with served(small) as address:
        yield address


def ask(at: str, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Status and text of an answer, to a request whose path is sent just as it is."""
    place = urlsplit(at)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    assert "default-src 'none'" in answer.headers.get("Content-Security-Policy", ""), path
    return answer.status, text


def test_from_the_plot_to_the_messages(at: str, page: Watched) -> None:
    page.open(f"{at}/")
    tab = page.page
    expect(tab.locator(".simulated")).to_be_visible()
    tab.locator(DRAWN.format("course")).wait_for()
    point = tab.locator(POINTS).first.bounding_box()
    assert point
    tab.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    tab.wait_for_url(re.compile(r"/candidates/\d+$"))
    expect(tab.get_by_role("heading", level=1)).to_have_text(re.compile(r"Candidate \d+|Baseline"))
    tab.locator(PAPERS).first.click()
    tab.wait_for_url(re.compile(r"/papers/\d+/val/\d+/[^/]+$"))
    expect(tab.get_by_text("SIMULATED")).to_be_visible()
    expect(tab.get_by_text(re.compile("^Round 1"))).to_be_visible()
    tab.get_by_role("link", name=re.compile("raw messages", re.IGNORECASE)).first.click()
    tab.wait_for_url(re.compile(r"/raw"))
    expect(tab.get_by_text("You direct the making of one research question").first).to_be_attached()


def test_a_running_run_is_followed(tmp_path: Path, page: Watched) -> None:
    run = aside(lambda: big_run.build(tmp_path / "live", 6, planned=20, minibatch=3, kept=0))
    with served(run) as at:
        page.open(f"{at}/")
        tab = page.page
        tab.locator(DRAWN.format("course")).wait_for()
        points = tab.locator(POINTS).count()
        newest = tab.locator("#iterations tbody tr").first
        before = newest.inner_text()
        said = tab.locator("[data-news]")
        expect(said).to_be_empty()
        tab.locator("#meter table").wait_for()
        meter = tab.locator("#meter").inner_text()
        zoomed = zoom_in(page)
        aside(lambda: big_run.append(run, 2))
        expect(said).to_contain_text("8 of 20 decided")
        expect(newest).not_to_have_text(before)
        expect(tab.locator(POINTS)).not_to_have_count(points)
        assert tab.locator(POINTS).count() > points
        expect(tab.locator("#meter")).not_to_have_text(meter)  # it follows as well
        assert tab.evaluate(X_RANGE) == zoomed  # what the reader looks at stays


X_RANGE = "document.querySelector('[data-chart=course]').layout.xaxis.range"


def zoom_in(page: Watched) -> list[float]:
    """Drag over a part of the course; returns the range that is seen then."""
    tab = page.page
    whole = tab.evaluate(X_RANGE)
    box = tab.locator("#course .nsewdrag").bounding_box()
    assert box
    tab.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.3 * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"], steps=5)
    tab.mouse.up()
    tab.wait_for_function(f"({X_RANGE})[1] !== {whole[1]}")
    seen: list[float] = tab.evaluate(X_RANGE)
    return seen


def test_a_chart_says_what_it_is_and_sends_nothing(at: str, page: Watched) -> None:
    page.open(f"{at}/")
    scroll_through(page)
    for chart in page.page.locator("[data-chart]").all():
        texts = chart.locator(".annotation-text").all_text_contents()
        assert "SIMULATED" in texts
        assert any(t.startswith("small, simulated") for t in texts)
        buttons = chart.locator(".modebar-btn").evaluate_all(
            "(all) => all.map((b) => b.getAttribute('data-title'))"
        )
        assert set(buttons) <= {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}


def test_search_by_keyboard(at: str, page: Watched) -> None:
    page.open(f"{at}/")
    tab = page.page
    tab.keyboard.press("/")
    tab.keyboard.type("rubric criteria")
    tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile(r"/search\?q=rubric\+criteria"))
    expect(tab.locator("mark").first).to_be_visible()
    hits = tab.locator("ul.hits a")
    expect(hits.first).to_be_visible()
    hits.first.click()
    expect(tab.get_by_role("heading", level=1)).to_be_visible()
    assert "/search" not in tab.url


def pages_of(at: str) -> dict[str, str]:
    """An address of each kind of page of the one run behind ``at``."""
    top = f"{at}{redirected(at)}"
    candidate = f"{top}candidates/10"
    story = re.findall(r'href="(/[^"]*/papers/[^"#]+)', ask(at, urlsplit(candidate).path)[1])[0]
    return {
        "overview": top, "candidate": candidate, "failed": f"{top}candidates/9",
        "baseline": f"{top}candidates/0", "against it": f"{candidate}?against=baseline",
        "storyboard": f"{at}{story}", "raw": f"{at}{story}/raw",
        "search": f"{top}search", "found": f"{top}search?q=rubric",
        "nothing": f"{top}search?q=zzqq",
    }  # fmt: skip


def redirected(at: str) -> str:
    """Where the first page of a server of one run leads."""
    place = urlsplit(at)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 302
    return answer.headers["Location"]


def test_what_isnt_there_leads_back_to_the_run(at: str) -> None:
    top = redirected(at)
    for lost in ("candidates/999", "papers/1/val/1/nobody", "nowhere"):
        status, text = ask(at, f"{top}{lost}")
        assert status == 404
        assert f'<a href="{top}">Back to ' in text
    status, text = ask(at, "/nowhere/")
    assert status == 404
    assert "Back to " not in text


@pytest.mark.parametrize("width", [1440, 800])
def test_axe_finds_nothing_serious(at: str, small: Path, chromium: Browser, width: int) -> None:
    bad = []
    with watched(chromium, width) as page:
        for kind, address in pages_of(at).items():
            page.open(address)
            if kind == "overview":
                scroll_through(page)
            page.page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
            found = Axe().run(page.page).response["violations"]
            bad += [
                (kind, v["id"], node["html"][:200])
                for v in found
                if v["impact"] in ("serious", "critical")
                for node in v["nodes"]
            ]
            wide = page.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{kind}: {wide} wide"
    assert bad == []
    assert page.problems == []


def scroll_through(page: Watched) -> None:
    """Have everything on the page drawn that is drawn when it comes near."""
    for part in page.page.locator("[data-chart], [data-fragment]").all():
        part.scroll_into_view_if_needed()
    for chart in page.page.locator("[data-chart]").all():
        expect(chart).to_have_attribute("data-drawn", "yes")
    expect(page.page.locator(".wait")).to_have_count(0)
    # The plotting library's own way of sending a chart elsewhere.
    expect(page.page.get_by_role("button", name=re.compile("Share|cloud", re.I))).to_have_count(0)


def test_all_is_reached_by_keyboard(at: str, page: Watched) -> None:
    """The way of the tabulator: to the content, and to a table of what the plot shows."""
    page.open(f"{at}/")
    tab = page.page
    focused = "(document.activeElement.textContent || document.activeElement.id).trim()"
    tab.keyboard.press("Tab")
    assert tab.evaluate(focused) == "Skip to the content"
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate(focused).startswith("Skip the charts")
    tab.keyboard.press("Enter")
    place = ""
    for _ in range(3):  # what scrolls, then the newest iteration
        tab.keyboard.press("Tab")
        place = tab.evaluate("document.activeElement.getAttribute('href')") or ""
        if place:
            break
    assert re.search(r"/candidates/12$", place)
    outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile(r"/candidates/12$"))


def test_no_way_leads_out_of_the_run(at: str, small: Path) -> None:
    (small.parent / "secret.txt").write_text(hostile.OUTSIDE)
    top = redirected(at)
    story = re.findall(r'href="(/[^"]*/papers/[^"#]+)', ask(at, f"{top}candidates/10")[1])[0]
    folder, _, file = story.rpartition("/")
    out = ("../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt",
           "..%5csecret.txt", "....//secret.txt", "%252e%252e%252fsecret.txt", "..;/secret.txt",
           "%00", "config.toml", "run.db", f"{quote(str(small.parent), safe='')}%2Fsecret.txt",
           f"/{small.parent}/secret.txt", "file:%2f%2f%2fetc%2fpasswd", "..%c0%afsecret.txt",
           "secret.txt%00.json", "+", "-1", "1e1", "\u0661".encode().hex())  # fmt: skip
    starts = ("/", "/static/", top, f"{top}candidates/", f"{top}papers/", f"{folder}/",
              f"{story}/", f"{top}papers/10/", f"{top}papers/10/val/", f"{top}charts/",
              f"{top}parts/", f"{top}papers/10/..%2f..%2f..%2f10%2fval/10/")  # fmt: skip
    for start in starts:
        for way in (*out, *(f"../../../../../..{small.parent}/secret.txt",)):
            status, text = ask(at, start + way)
            assert status in (400, 403, 404), (start + way, status)
            assert hostile.OUTSIDE not in text
    assert ask(at, story)[0] == 200
    assert ask(at, story.replace(file, f"{file}.10.json"))[0] == 404
    (small.parent / "secret.txt").unlink()


def test_only_looking_and_only_under_our_name(at: str) -> None:
    top = redirected(at)
    for path in (top, f"{top}version", f"{top}search?q=x", "/static/app.js"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert ask(at, path, method)[0] == 405
        for host in ("evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", ""):
            assert ask(at, path, Host=host)[0] == 403
    assert ask(at, top, Host="localhost:1234")[0] == 200


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hostile run; its folder's name is hostile too."""
    folder = tmp_path_factory.mktemp("evil") / "run <b onclick=x>&amp;'"
    return aside(lambda: big_run.build(folder, 5, minibatch=3, hostile=True))


def harmless(page: Watched) -> None:
    """No script but ours ran or is there, nothing else was asked for."""
    tab = page.page
    assert tab.evaluate(f"typeof window.{hostile.CANARY}") == "undefined"
    scripts = tab.evaluate("[...document.scripts].map((s) => s.type + ' ' + s.getAttribute('src'))")
    assert set(scripts) <= {"module /static/app.js", " /static/plotly.js"}
    assert tab.locator("iframe, object, embed, math, link[href*='//']").count() == 0
    odd = "[onerror], [onload], [onfocus], [onclick], [onmouseover], [href^='javascript' i]"
    assert tab.locator(f"{odd}, [src*='//']").count() == 0
    assert tab.locator("form").count() == 1
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1440


def test_what_models_write_is_shown_as_text(evil: Path, chromium: Browser) -> None:
    with served(evil) as at, watched(chromium) as page:
        top = at + redirected(at)
        seen = set()
        page.open(top)
        scroll_through(page)
        hover_points(page)
        harmless(page)
        for i in range(6):
            page.open(f"{top}candidates/{i}")
            harmless(page)
            seen |= {m for m in hostile.MARKS[:4] if m in page.page.inner_text("main")}
            links = page.page.eval_on_selector_all(PAPERS, "(all) => all.map((a) => a.href)")
        for word in ("script", "<svg onload=x>", "{{7*7}}"):
            page.open(f"{top}search?q={quote(word)}")
            harmless(page)
        broken = unreadable(at, links)
        assert len(broken) > 8
        for link in [*broken, *links[:: len(links) // 4]]:
            page.open(link)
            harmless(page)
        assert page.problems == []
        assert seen == set(hostile.MARKS[:4])


def hover_points(page: Watched) -> None:
    """What the plotting library shows of a point is text too: it reads some markup itself."""
    read: list[str] = []
    for point in page.page.locator(".scatterlayer path.point").all()[:6]:
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        assert box
        page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        read.append("".join(page.page.locator(".hoverlayer").all_text_contents()))
        assert page.page.locator(".hoverlayer a, .hoverlayer sup, .infolayer a").count() == 0
    assert any(hostile.MARKUP[:20] in text for text in read)


def unreadable(at: str, links: list[str]) -> list[str]:
    """The storyboards of broken trajectories.  No storyboard is an error of the server's, and none
    shows what lies outside of the run."""
    found = []
    for link in links:
        path = link.removeprefix(at)
        status, text = ask(at, path)
        raw_status, raw = ask(at, f"{path}/raw")
        assert (status, raw_status) in ((200, 200), (200, 404)), path
        assert hostile.OUTSIDE not in text + raw
        assert max(len(text), len(raw)) < 2_000_000, path
        if "Not readable" in text or 'role="alert"' in text:
            found.append(link)
    return found
