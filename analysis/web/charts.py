"""Charts as plain data for the plotting library: what is drawn, never how.

A figure is ``{"data": [...], "layout": {...}}``.  A point's ``customdata`` is the address that a
click on it leads to.  Text from models goes through ``chart_text``: the library reads markup.
"""

from collections.abc import Sequence
from typing import Any

from analysis.course import Point
from analysis.style import BLUE, DARK, GREEN, GREY, ORANGE
from analysis.web.links import Links
from analysis.web.text import chart_text
from metaopt.optimism import Figure as Told
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
        "height": height, "font": font, "margin": {"l": 56, "r": 16, "t": 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
        "legend": {"orientation": "h", "y": -0.2, "x": 0, "xanchor": "left", "yanchor": "top"},
        "hoverlabel": {"align": "left", "bgcolor": "#FFFFFF", "font": {"size": 12}},
    }  # fmt: skip
    return base | more


def axis(title: str, **more: Any) -> Chart:
    """An axis with a title and faint lines."""
    return {"title": {"text": title}, "gridcolor": "#E8E8E8", "zeroline": False, **more}


def course_chart(
    points: Sequence[Point], unchosen: Sequence[Told], summaries: dict[int, str], links: Links
) -> Chart:
    """Validation pass rate over iterations; ``unchosen`` are figures that chose nothing."""
    data = [*_baseline(points), *_best(points), *_scores(points, summaries, links)]
    if unchosen and points:
        data += _unchosen(points[-1].iteration, unchosen)
    return {
        "data": data,
        "layout": layout(
            420,
            xaxis=axis("iteration", rangemode="nonnegative", showgrid=False),
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
        "name": f"best so far, average of its runs ({known[-1].best_rate:.0%})",
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
    """At the right end: runs after the choice, and the sealed test's."""
    x = [last + 2 + 1.5 * k for k in range(len(told))]
    arms = [(f.interval or (f.rate, f.rate)) for f in told]
    return [
        {
            "x": x, "y": [f.rate for f in told], "mode": "markers", "type": "scatter",
            "marker": {"symbol": "star", "size": 11, "color": GREEN},
            "error_y": {
                "type": "data", "symmetric": False, "color": GREEN, "thickness": 1.2, "width": 3,
                "array": [high - f.rate for f, (_, high) in zip(told, arms, strict=True)],
                "arrayminus": [f.rate - low for f, (low, _) in zip(told, arms, strict=True)],
            },
            "text": [f"{f.name}: candidate {f.candidate}, {f.rate:.0%} of {f.rollouts} rollouts"
                     for f in told],
            "hoverinfo": "text", "cliponaxis": False,
            "name": "runs that had no part in the choice (finalist again, sealed test)",
        }
    ]  # fmt: skip


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
            120 + 17 * len(papers),
            xaxis={"title": {"text": "candidate"}, "type": "category", "nticks": 20},
            yaxis={**ticks, "title": {"text": ""}, "automargin": True},
        ),
    }


def _cell_text(paper: str, candidate: int, had: Sequence[tuple[int, bool]] | None) -> str:
    if not had:
        return ""
    passed = sum(p for _, p in had)
    what = f"passed in {passed} of {len(had)} runs"
    return f"{chart_text(paper)}<br>candidate {candidate}: {what}"
