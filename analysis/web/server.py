"""The local server of ``metaopt view``: loopback, read-only, offline.

No path of a request reaches the file system: runs, iterations and papers are looked up among what
is known, and files are served from a fixed list.  Whoever can reach the port can read the runs,
so it listens on loopback, and takes no request for another host's name (a page on the web could
have its own name lead here).
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from analysis.failures import failure_mix
from analysis.lineage import lineage
from analysis.search.query import parse
from analysis.search.searcher import MOST_HITS, ON_PAGE, Searchers
from analysis.web import charts
from analysis.web.candidate import candidate_page
from analysis.web.diff import highlight_rules
from analysis.web.library import Shelf, shelves
from analysis.web.links import ServerLinks
from analysis.web.overview import news, overview, spending_rows, summaries, unchosen
from analysis.web.paper import paper_page, raw_page
from analysis.web.render import FOLDER, as_json, plotting_script, render
from analysis.web.search import search_page
from inner_agent.errors import UserError
from metaopt.optimism import meter
from metaopt.runs import DAMAGED, Row, row_or_why
from metaopt.text import one_line
from metaopt.validations import validations

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# The hash is that of an empty style element, which the plotting library fills by script.
EMPTY = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-elem 'self' "
    f"{EMPTY}; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SHELVES: web.AppKey[Mapping[str, Shelf]] = web.AppKey("shelves")
SEARCHERS: web.AppKey[Searchers] = web.AppKey("searchers")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(shelves: Mapping[str, Shelf]) -> web.Application:
    """The server for these runs, by name."""
    app = web.Application(middlewares=[_guarded])
    app[SHELVES], app[SEARCHERS] = shelves, Searchers()
    app.cleanup_ctx.append(_searching)
    app.router.add_get("/", _runs)
    for name, kind in STATIC.items():
        app.router.add_get(f"/static/{name}", _static(name, kind))
    app.router.add_get("/{run}/", _overview)
    app.router.add_get("/{run}/version", _version)
    app.router.add_get("/{run}/charts/{chart}.json", _chart)
    app.router.add_get("/{run}/parts/{part}", _part)
    app.router.add_get("/{run}/candidates/{iteration}", _candidate)
    paper = "/{run}/papers/{candidate}/{part}/{iteration}/{paper}"
    app.router.add_get(paper, _paper)
    app.router.add_get(f"{paper}/raw", _raw)
    app.router.add_get("/{run}/search", _search)
    return app


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as pages, and the headers on everything."""
    try:
        if not _by_our_name(request):
            raise web.HTTPForbidden(text="asked for under another host's name")
        response = await handler(request)
    except web.HTTPException as e:
        response = _message(request, e.status, e.reason, e.text or e.reason)
        response.headers.update({k: v for k, v in e.headers.items() if k in ("Location", "Allow")})
    except UserError as e:
        response = _message(request, 404, "Not here", str(e))
    except DAMAGED as e:
        told = f"This can't be made of the run's files; is one damaged?  {type(e).__name__}: {e}"
        print(f"{request.path}: {one_line(told, 300)}", file=sys.stderr, flush=True)
        response = _message(request, 500, "Can't be read", told)
    response.headers.update(HEADERS)
    return response


def _host(host: str) -> str:
    """A Host header's name, without its port."""
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


def _by_our_name(request: web.Request) -> bool:
    """Is a loopback socket asked under a name of this machine's own?  Whoever opened another
    address may give it any name."""
    own = str(request.get_extra_info("sockname")[0])
    return not _is_loopback(own) or _host(request.host) in (*LOOPBACK, own)


def _is_loopback(address: str) -> bool:
    """All of 127.0.0.0/8, and ::1."""
    return ip_address(address.strip("[]")).is_loopback


def _message(request: web.Request, status: int, title: str, text: str) -> web.Response:
    """A page that says what went wrong, with a way back to the run where that is known."""
    run, known = request.path.split("/")[1], request.app[SHELVES]
    way_back = {"links": ServerLinks(run), "name": run} if run in known and status != 403 else {}
    page = render("message.html", title=title, text=text, **way_back)
    return web.Response(status=status, text=page, content_type="text/html")


def _shelf(request: web.Request) -> Shelf:
    name = request.match_info["run"]
    try:
        return request.app[SHELVES][name]
    except KeyError:
        raise web.HTTPNotFound(text=f"There is no run {name!r} here.") from None


async def _page(template: str, context: Callable[[], dict[str, Any]]) -> web.Response:
    """A page, made beside the loop: reading a run takes a moment."""
    text = await asyncio.to_thread(lambda: render(template, **context()))
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})


async def _runs(request: web.Request) -> web.StreamResponse:
    known = request.app[SHELVES]
    if len(known) == 1:
        raise web.HTTPFound(ServerLinks(next(iter(known))).overview())
    return await _page("runs.html", lambda: {"runs": [_run_row(s) for s in known.values()]})


def _run_row(shelf: Shelf) -> tuple[str, Row]:
    return ServerLinks(shelf.name).overview(), row_or_why(shelf.name, shelf.folder, shelf.record)


async def _overview(request: web.Request) -> web.StreamResponse:
    shelf = _shelf(request)

    def context() -> dict[str, Any]:
        now = _now(shelf)
        return _common(shelf) | {"page": overview(shelf.record()), "now": as_json(now)}

    return await _page("overview.html", context)


def _common(shelf: Shelf) -> dict[str, Any]:
    """What every page of a run's has."""
    simulated = shelf.record().config.simulated
    return {"links": ServerLinks(shelf.name), "name": shelf.name, "simulated": simulated}


async def _version(request: web.Request) -> web.StreamResponse:
    """Whether anything is new, for a page that follows a run."""
    shelf = _shelf(request)
    now = await asyncio.to_thread(lambda: _now(shelf))
    return web.json_response(now, headers={"Cache-Control": "no-store"})


def _now(shelf: Shelf) -> dict[str, Any]:
    """How the run stands: numbers that change when there is something new to show, and a line."""
    version, now = shelf.version(), news(shelf.record())
    return {
        "version": version, "running": shelf.running, "done": now.done, "decided": now.decided,
        "news": now.line,
    }  # fmt: skip


async def _chart(request: web.Request) -> web.StreamResponse:
    shelf, name = _shelf(request), request.match_info["chart"]
    if name not in CHARTS:
        raise web.HTTPNotFound(text=f"There is no chart {name!r}.")

    def drawn() -> charts.Chart:
        return charts.marked(CHARTS[name](shelf), shelf.name, shelf.record().config.simulated)

    figure = await asyncio.to_thread(drawn)
    return web.json_response(figure, headers={"Cache-Control": "no-store"})


def _course(shelf: Shelf) -> charts.Chart:
    record, links = shelf.record(), ServerLinks(shelf.name)
    return charts.course_chart(shelf.points(), unchosen(record), summaries(record), links)


def _lineage(shelf: Shelf) -> charts.Chart:
    record = shelf.record()
    return charts.lineage_chart(lineage(record), summaries(record), ServerLinks(shelf.name))


def _papers(shelf: Shelf) -> charts.Chart:
    return charts.paper_chart(validations(shelf.record()), ServerLinks(shelf.name))


CHARTS: Mapping[str, Callable[[Shelf], charts.Chart]] = {
    "course": _course,
    "lineage": _lineage,
    "papers": _papers,
    "failures": lambda shelf: charts.failure_chart(failure_mix(shelf.record())),
    "spending": lambda shelf: charts.spending_chart(shelf.spent()),
}


async def _part(request: web.Request) -> web.StreamResponse:
    """A part of the first page that takes longer, by itself."""
    shelf, name = _shelf(request), request.match_info["part"]
    if name == "meter":
        return await _page("parts/meter.html", lambda: {"figures": meter(shelf.record())})
    if name == "facts":
        return await _page("parts/facts.html", lambda: {"page": overview(shelf.record())})
    if name == "cost":
        return await _page("parts/cost.html", lambda: {"rows": spending_rows(shelf)})
    raise web.HTTPNotFound(text=f"There is no part {name!r}.")


async def _candidate(request: web.Request) -> web.StreamResponse:
    shelf, i = _shelf(request), _number(request, "iteration")
    against = "baseline" if request.query.get("against") == "baseline" else "parent"
    return await _page(
        "candidate.html",
        lambda: _common(shelf) | {"page": candidate_page(shelf.record(), i, against)},
    )


def _number(request: web.Request, what: str) -> int:
    word = request.match_info[what]
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise web.HTTPNotFound(text=f"There is no {what} {word!r}.")
    return int(word)


def _rollout(request: web.Request) -> tuple[int, str, int, str]:
    """Candidate, part, iteration and the paper's file name: a key to look up, nothing more."""
    part, paper = request.match_info["part"], request.match_info["paper"]
    return _number(request, "candidate"), part, _number(request, "iteration"), paper


async def _paper(request: web.Request) -> web.StreamResponse:
    shelf, key = _shelf(request), _rollout(request)
    return await _page(
        "storyboard.html", lambda: _common(shelf) | {"page": paper_page(shelf.record(), *key)}
    )


async def _raw(request: web.Request) -> web.StreamResponse:
    """One section of the raw messages, or with ``step`` one of them whole."""
    shelf, key = _shelf(request), _rollout(request)
    section, step = request.query.get("part", ""), request.query.get("step", "")
    one = int(step) if step.isascii() and step.isdigit() and len(step) < 10 else None
    return await _page(
        "raw.html",
        lambda: _common(shelf) | {"raw": raw_page(shelf.record(), *key, section, one)},
    )


async def _searching(app: web.Application) -> AsyncIterator[None]:
    yield
    app[SEARCHERS].close()


async def _search(request: web.Request) -> web.StreamResponse:
    shelf, searchers = _shelf(request), request.app[SEARCHERS]
    typed = request.query.get("q", "").strip()

    def context() -> dict[str, Any]:
        record = shelf.record()
        limit = MOST_HITS if "kind" in parse(typed).filters else ON_PAGE
        page = search_page(
            typed, searchers.of(record).search(record, typed, limit), ServerLinks(shelf.name)
        )
        return _common(shelf) | {"page": page, "query": typed}

    return await _page("search.html", context)


STATIC = {
    "app.css": "text/css", "storyboard.css": "text/css", "highlight.css": "text/css",
    "app.js": "text/javascript", "plotly.js": "text/javascript", "icon.svg": "image/svg+xml",
}  # fmt: skip


def _static(name: str, kind: str) -> Handler:
    """A handler for one file; what stays the same as long as the package does may be kept."""

    async def handler(request: web.Request) -> web.StreamResponse:
        kept = {"Cache-Control": "private, max-age=86400" if name == "plotly.js" else "no-cache"}
        if name == "highlight.css":
            return web.Response(text=highlight_rules(), content_type=kind, headers=kept)
        path = plotting_script() if name == "plotly.js" else FOLDER / "static" / name
        headers = kept | {"Content-Type": f"{kind}; charset=utf-8"}
        return web.FileResponse(path, headers=headers)

    return handler


def view_runs(folders: Sequence[Path], host: str, port: int) -> None:
    """Serve these runs until Ctrl-C.  Raises ``UserError`` for what isn't a run, a port in use."""
    known = shelves(folders)

    def started(address: str) -> None:
        print(f"{address}   (Ctrl-C stops it)", flush=True)
        if not _is_loopback(_host(address.removeprefix("http://").rstrip("/"))):
            print("Whoever reaches this address can read the runs.", file=sys.stderr, flush=True)

    with suppress(KeyboardInterrupt):
        asyncio.run(serve(known, host, port, started))


def _of_ours(record: logging.LogRecord) -> bool:
    """Is it this server's fault?  A request that can't be read is answered, and that is all."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def serve(
    shelves: Mapping[str, Shelf], host: str, port: int, started: Callable[[str], None]
) -> None:
    """Serve until cancelled; ``started`` gets the address.

    Raises ``UserError`` when the port is taken.
    """
    plotting_script()
    logging.getLogger("aiohttp.server").addFilter(_of_ours)
    os.nice(10)  # a run on this machine comes first
    runner = web.AppRunner(application(shelves), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as e:
            raise UserError(f"{host}:{port}: {e.strerror}; give another --port") from None
        at = runner.addresses[0]
        name = f"[{at[0]}]" if ":" in at[0] else at[0]
        started(f"http://{name}:{at[1]}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
