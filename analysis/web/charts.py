"""Charts as plain data for the plotting library: what is drawn, never how.

A figure is ``{"data": [...], "layout": {...}}``.  A point's ``customdata`` is the address that a
click on it leads to.  Text from models goes through ``chart_text``: the library reads markup.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from analysis.colours import BLUE, DARK, ENDS, GREEN, GREY, ORANGE
from analysis.course import Point
from analysis.failures import Mix, binned
from analysis.lineage import Node
from analysis.spending import Spent
from analysis.web.links import Links
from analysis.web.text import chart_text
from metaopt.optimism import Figure as Told
from metaopt.text import amount, dollars
from metaopt.validations import Validation

Chart = dict[str, Any]
# Outcome, symbol, face, edge, name in the legend: as analysis/figures draws them.
MARKS = (
    ("accepted", "circle", ORANGE, ORANGE, "accepted, one run"),
    ("rejected", "circle", "#FFFFFF", GREY, "rejected, one run"),
    ("stopped", "diamond-tall", "#BBBBBB", GREY, "stopped, on some papers"),
    ("control", "square", "#FFFFFF", GREEN, "live control: parent, unchanged"),
)
CELLS = [[0, "#E9E9E9"], [1, BLUE]]  # of the heat map: none of the runs passed, all of them


def layout(height: int, **more: Any) -> Chart:
    """What all charts have in common."""
    font = {"family": "system-ui, sans-serif", "size": 13, "color": DARK}
    base: Chart = {
        # What a reader zoomed into stays as it is when the numbers are renewed.
        "uirevision": "kept", "modebar": {"orientation": "v", "bgcolor": "rgba(0,0,0,0)"},
        "height": height, "font": font, "margin": {"l": 56, "r": 40, "t": 12, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"align": "left", "bgcolor": "#FFFFFF", "font": {"size": 12}},
    }  # fmt: skip
    return base | more


def marked(chart: Chart, run: str, simulated: bool) -> Chart:
    """The chart with the run's name below it, and across it, if it is so, that it is simulated: a
    picture of it goes its way without its page."""
    corner = {"xref": "paper", "yref": "paper", "showarrow": False}
    notes: list[Chart] = [
        corner | {
            "x": 1, "y": 0, "yshift": -46, "xanchor": "right", "yanchor": "bottom",
            "text": chart_text(run, 40) + (", simulated" if simulated else ""),
            "font": {"size": 10, "color": "#595959"},
        }
    ]  # fmt: skip
    if simulated:
        notes.append(
            corner | {
                "x": 0.5, "y": 0.5, "text": "SIMULATED", "textangle": -14,
                "font": {"size": 56, "color": "rgba(51,51,51,0.08)"},
            }
        )  # fmt: skip
    return chart | {"layout": chart["layout"] | {"annotations": notes}}


def whole_ticks(last: int) -> Chart:
    """Ticks at whole numbers of iterations, about eight of them, none beyond the last."""
    step = next(s * m for m in (1, 10, 100, 1000, 10_000) for s in (1, 2, 5) if last <= 9 * s * m)
    return {"tickmode": "array", "tickvals": list(range(0 if step > 1 else 1, last + 1, step))}


def axis(title: str, **more: Any) -> Chart:
    """An axis with a title and faint lines."""
    return {"title": {"text": title}, "gridcolor": "#E8E8E8", "zeroline": False, **more}


def course_chart(
    points: Sequence[Point], unchosen: Sequence[Told], summaries: dict[int, str], links: Links
) -> Chart:
    """Validation pass rate over iterations; ``unchosen`` are figures that chose nothing."""
    data = [*_baseline(points), *_best(points), *_scores(points, summaries, links)]
    last = points[-1].iteration if points else 1
    if unchosen and points:
        data += _unchosen(last, unchosen)
    return {
        "data": data,
        "layout": layout(
            420,
            xaxis=axis("iteration", showgrid=False, **whole_ticks(last)),
            yaxis=axis("validation pass rate", tickformat=".0%", rangemode="tozero"),
        ),
    }


def _band(x: list[float], low: list[float], high: list[float], colour: str) -> Chart:
    return {
        "x": [*x, *reversed(x)], "y": [*high, *reversed(low)], "fill": "toself", "mode": "lines",
        "fillcolor": colour, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
        "type": "scatter",
    }  # fmt: skip


def _baseline(points: Sequence[Point]) -> list[Chart]:
    if not points or (rate := points[-1].baseline_rate) is None:
        return []
    last, x = points[-1], [0.5, points[-1].iteration + 0.5]
    return [
        _band(x, [last.baseline_low] * 2, [last.baseline_high] * 2, "rgba(140,140,140,0.15)"),
        {
            "x": x, "y": [rate] * 2, "mode": "lines", "type": "scatter", "hoverinfo": "name",
            "line": {"color": DARK, "width": 1.5, "dash": "dash"},
            "name": f"baseline, all runs ({rate:.0%})",
        },
    ]  # fmt: skip


def _best(points: Sequence[Point]) -> list[Chart]:
    """The best by then as a step for each iteration, with its interval."""
    known = [p for p in points if p.best_rate is not None]
    if not known:
        return []
    x, y, low, high = [], [], [], []
    for p in known:  # both ends of the step, so that the band has the line's corners
        x += [p.iteration - 0.5, p.iteration + 0.5]
        y += [p.best_rate] * 2
        low += [p.best_low] * 2
        high += [p.best_high] * 2
    hover = [f"best by then: candidate {p.best}, {p.best_rate:.0%}" for p in known for _ in "ab"]
    line = {
        "x": x, "y": y, "mode": "lines", "type": "scatter", "text": hover, "hoverinfo": "text",
        "line": {"color": BLUE, "width": 2.5},
        "name": f"current best, average of its runs ({known[-1].best_rate:.0%})",
    }  # fmt: skip
    return [_band(x, low, high, "rgba(0,114,178,0.16)"), line]


def _scores(points: Sequence[Point], summaries: dict[int, str], links: Links) -> list[Chart]:
    size, found = 9 if len(points) <= 60 else 6, []
    for outcome, symbol, face, edge, name in MARKS:
        chosen = [p for p in points if p.outcome == outcome and p.rate is not None]
        if not chosen:
            continue
        hover = [
            f"<b>candidate {p.iteration}</b>, {outcome}: {p.rate:.0%}<br>"
            f"{chart_text(summaries.get(p.iteration, ''))}"
            for p in chosen
        ]
        marker = {"symbol": symbol, "size": size, "color": face, "opacity": 0.85,
                  "line": {"color": edge, "width": 1.5}}  # fmt: skip
        found.append(
            {
                "x": [p.iteration for p in chosen], "y": [p.rate for p in chosen],
                "mode": "markers", "type": "scatter", "marker": marker, "cliponaxis": False,
                "text": hover, "hoverinfo": "text", "name": f"{name} ({len(chosen)})",
                "customdata": [links.candidate(p.iteration) for p in chosen],
            }
        )  # fmt: skip
    return found


def _unchosen(last: int, told: Sequence[Told]) -> list[Chart]:
    """At the right end, each under its name: runs after the choice, and the sealed test's."""
    apart = max(0.8, 0.04 * last)
    x = [last + 1 + apart * (k + 1) for k in range(len(told))]
    arms = [(f.interval or (f.rate, f.rate)) for f in told]
    bars = {
        "type": "data", "symmetric": False, "color": GREEN, "thickness": 1.2, "width": 3,
        "array": [high - f.rate for f, (_, high) in zip(told, arms, strict=True)],
        "arrayminus": [f.rate - low for f, (low, _) in zip(told, arms, strict=True)],
    }  # fmt: skip
    hover = [
        f"{f.name}: candidate {f.candidate}, {f.rate:.0%} of {f.rollouts} rollouts" for f in told
    ]
    stars = {
        "x": x, "y": [f.rate for f in told], "mode": "markers", "type": "scatter",
        "marker": {"symbol": "star", "size": 11, "color": GREEN}, "error_y": bars,
        "text": hover, "hoverinfo": "text", "cliponaxis": False,
        "name": "runs that had no part in the choice",
    }  # fmt: skip
    names = {
        "x": x, "y": [high for _, high in arms], "mode": "text", "type": "scatter",
        "text": [AT_THE_END.get(f.name, f.name) for f in told], "textposition": "top center",
        "textfont": {"size": 10, "color": "#00694C"}, "hoverinfo": "skip", "showlegend": False,
        "cliponaxis": False,
    }  # fmt: skip
    return [stars, names]


AT_THE_END = {
    "finalist, run again": "run<br>again",
    "sealed test, best": "test:<br>best",
    "sealed test, the best then": "test: the<br>best then",
    "sealed test, baseline": "test:<br>baseline",
    "sealed test, published": "test:<br>published",
}


def paper_chart(found: Sequence[Validation], links: Links) -> Chart:
    """Validation papers × candidates: the share of a candidate's runs that passed each."""
    runs: dict[tuple[str, int], list[tuple[int, bool]]] = {}
    for v in found:
        for paper, passed in zip(v.papers, v.passed, strict=True):
            runs.setdefault((paper, v.candidate), []).append((v.iteration, passed))
    candidates = sorted({c for _, c in runs})
    share = {key: sum(p for _, p in had) / len(had) for key, had in runs.items()}
    hardness = {p: 0.0 for p, _ in runs}
    for (paper, _), part in share.items():
        hardness[paper] += part
    papers = sorted(hardness, key=lambda p: (hardness[p], p))
    cell = [[share.get((p, c)) for c in candidates] for p in papers]
    hover = [[_cell_text(p, c, runs.get((p, c))) for c in candidates] for p in papers]
    to = [
        [links.paper(c, "val", runs[p, c][-1][0], p) if (p, c) in runs else "" for c in candidates]
        for p in papers
    ]
    names = [chart_text(p, 28) for p in papers]
    chart = {
        "type": "heatmap", "z": cell, "x": [str(c) for c in candidates],
        "y": list(range(len(papers))), "text": hover, "hoverinfo": "text", "customdata": to,
        "colorscale": CELLS, "zmin": 0, "zmax": 1, "xgap": 1 if len(candidates) < 80 else 0,
        "ygap": 1, "colorbar": {"title": {"text": "runs passed"}, "tickformat": ".0%", "len": 0.6,
                                "thickness": 12},
    }  # fmt: skip
    ticks = {"tickvals": list(range(len(papers))), "ticktext": names, "tickfont": {"size": 10}}
    return {
        "data": [chart],
        "layout": layout(
            100 + 17 * len(papers),
            xaxis={
                "title": {"text": "candidate"},
                "type": "category",
                "nticks": 12,
                "tickangle": 0,
            },
            yaxis={**ticks, "title": {"text": ""}, "automargin": True},
        ),
    }


def _cell_text(paper: str, candidate: int, had: Sequence[tuple[int, bool]] | None) -> str:
    if not had:
        return ""
    passed = sum(p for _, p in had)
    what = f"passed in {passed} of {len(had)} runs"
    return f"{chart_text(paper)}<br>candidate {candidate}: {what}"


def lineage_chart(nodes: Sequence[Node], summaries: dict[int, str], links: Links) -> Chart:
    """The family tree: lanes of parents, and an edge to each child at the child's iteration."""
    by_id = {n.id: n for n in nodes}
    rest, line = _edges(nodes, by_id), _best_edges([n for n in nodes if n.on_best_line])
    data: list[Chart] = [
        _path(rest, "#B5B5B5", 1, "", shown=False),
        _path(line, BLUE, 3, "the best and its ancestors", shown=True),
    ]
    kinds = (("baseline", "circle", DARK, DARK, "baseline"), *MARKS,
             ("failed", "x-thin", GREY, GREY, "failed, nothing made"))  # fmt: skip
    for outcome, symbol, face, edge, name in kinds:
        chosen = [n for n in nodes if n.outcome == outcome]
        if chosen:
            name = f"{name.partition(',')[0]} ({len(chosen)})"
            data.append(_nodes(chosen, symbol, face, edge, name, summaries, links))
    blank = {"showgrid": False, "zeroline": False}
    best = [n for n in nodes if n.on_best_line]
    data.append(
        {
            "x": [n.x for n in best], "y": [n.y for n in best], "mode": "text", "type": "scatter",
            "text": [str(n.id) for n in best], "textposition": "top left", "hoverinfo": "skip",
            "textfont": {"size": 11, "color": "#005F95"}, "showlegend": False,
        }
    )  # fmt: skip
    lanes = {n.y for n in nodes}
    height = int(min(760, max(280, 160 + 16 * (max(lanes) - min(lanes)))))
    return {
        "data": data,
        "layout": layout(
            height,
            xaxis={**blank, **whole_ticks(nodes[-1].iteration), "title": {"text": "iteration"}},
            yaxis={**blank, "showticklabels": False},
        ),
    }


Edge = tuple[float, float, float, float]  # x and y of both ends


def _edges(nodes: Sequence[Node], by_id: dict[int, Node]) -> list[Edge]:
    """Every lane and every way from a parent's lane to its child."""
    lanes = [(n.x, n.y, n.until, n.y) for n in nodes if n.until > n.x]
    down = [(n.x, by_id[n.parent].y, n.x, n.y) for n in nodes if n.parent is not None]
    return [*lanes, *down]


def _best_edges(line: Sequence[Node]) -> list[Edge]:
    """From the baseline along the lanes to the best; ``line`` is in the iterations' order."""
    found: list[Edge] = []
    for old, new in pairwise(line):
        found += [(old.x, old.y, new.x, old.y), (new.x, old.y, new.x, new.y)]
    return found


def _path(edges: Sequence[Edge], colour: str, width: float, name: str, *, shown: bool) -> Chart:
    return {
        "x": [v for x0, _, x1, _ in edges for v in (x0, x1, None)],
        "y": [v for _, y0, _, y1 in edges for v in (y0, y1, None)],
        "mode": "lines", "type": "scatter", "line": {"color": colour, "width": width},
        "hoverinfo": "skip", "name": name, "showlegend": shown,
    }  # fmt: skip


def _nodes(
    chosen: Sequence[Node], symbol: str, face: str, edge: str, name: str,
    summaries: dict[int, str], links: Links,
) -> Chart:  # fmt: skip
    size = 10 if len(chosen) <= 60 else 7
    hover = [
        f"<b>candidate {n.id}</b>, {n.outcome}" + ("" if n.rate is None else f": {n.rate:.0%}")
        + f"<br>{chart_text(summaries.get(n.id, ''))}"
        for n in chosen
    ]  # fmt: skip
    return {
        "x": [n.x for n in chosen], "y": [n.y for n in chosen], "mode": "markers",
        "type": "scatter", "name": name, "text": hover, "hoverinfo": "text",
        "marker": {"symbol": symbol, "size": size, "color": face,
                   "line": {"color": edge, "width": 1.5}},
        "customdata": [links.candidate(n.id) for n in chosen],
    }  # fmt: skip


# Patterns of rounds' ends: told apart in grey as well.
PATTERNS = {"weak_zero": "x", "failed_quality_check": "/", "invalid_item": "\\", "unfinished": "."}
BARS = 40


def failure_chart(mixes: Sequence[Mix]) -> Chart:
    """Shares of rounds by what came of them; ``mixes`` are an iteration's each."""
    bars = binned(mixes, BARS) if mixes else []
    names = [f"{m.first}" if m.first == m.last else f"{m.first}–{m.last}" for m in bars]
    shares = [m.shares() for m in bars]
    totals = [sum(m.rounds.values()) for m in bars]
    data = []
    for outcome, (name, colour) in ENDS.items():
        if not any(s[outcome] for s in shares):
            continue
        data.append(
            {
                "type": "bar", "name": name, "x": names, "y": [s[outcome] for s in shares],
                "marker": {"color": colour, "line": {"color": DARK, "width": 0.5},
                           "pattern": {"shape": PATTERNS.get(outcome, ""), "fillmode": "overlay",
                                                   "fgcolor": DARK, "size": 6}},
                "text": [f"{name}: {s[outcome]:.0%} of {n} rounds"
                         for s, n in zip(shares, totals, strict=True)],
                "hoverinfo": "text+x", "textposition": "none",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": layout(
            340, barmode="stack", bargap=0.15,
            xaxis={"title": {"text": "iteration"}, "type": "category", "nticks": 8, "tickangle": 0},
            yaxis=axis("share of rounds", tickformat=".0%", range=[0, 1]),
        ),
    }  # fmt: skip


def spending_chart(spent: Sequence[Spent]) -> Chart:
    """The best's pooled pass rate over what was spent; over rollouts where models cost nothing."""
    paid = bool(spent) and spent[-1].usd > 0
    known = [s for s in spent if s.best_rate is not None]
    x = [s.usd if paid else s.rollouts for s in known]
    hover = [
        f"iteration {s.iteration}: {dollars(s.usd)}, {s.rollouts:,} rollouts,"
        f" {amount(s.tokens)} tokens<br>"
        f"best by then: candidate {s.best}, {s.best_shrunk:.0%} shrunk"
        for s in known
    ]
    line = {
        "x": x, "y": [s.best_shrunk for s in known], "type": "scatter", "mode": "lines+markers",
        "line": {"color": BLUE, "width": 2.5, "shape": "hv"}, "marker": {"size": 5},
        "text": hover, "hoverinfo": "text",
    }  # fmt: skip
    title = "USD spent" if paid else "rollouts (one harness on one paper; these models are free)"
    tick = {"tickprefix": "$"} if paid else {}
    return {
        "data": [line],
        "layout": layout(
            320,
            showlegend=False,
            xaxis=axis(title, rangemode="tozero", **tick),
            yaxis=axis("pass rate of the best, shrunk", tickformat=".0%", rangemode="tozero"),
        ),
    }
