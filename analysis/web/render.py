"""Templates to HTML.  Autoescaped; a name that a template gets wrong is an error, not a gap."""

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.colours import ENDS
from analysis.web.text import chart_text, shown
from inner_agent.errors import UserError
from metaopt.show import REPEATS, ended
from metaopt.text import amount, dollars, duration, moment, one_line, several

FOLDER = Path(__file__).parent


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(style_names=style_names, REPEATS=REPEATS, ENDS=ENDS)
    made.filters.update(
        shown=shown, chart_text=chart_text, one_line=one_line, percent=percent, data=_data,
        ended=ended, amount=amount, dollars=dollars, duration=duration, moment=moment,
        several=several,
    )  # fmt: skip
    return made


def render(template: str, **context: Any) -> str:
    """The template of that name, filled in."""
    return _environment().get_template(template).render(**context)


def percent(share: float | None, digits: int = 0) -> str:
    """A fraction in percent; a dash for none."""
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def as_json(data: Any) -> str:
    """Compact JSON."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _data(data: Any) -> Markup:
    """JSON within a ``<script type="application/json">``, which nothing in it can end."""
    text = as_json(data)
    for c in "<>&":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return Markup(text)


@cache
def plotting_script() -> Path:
    """The plotting library's script, as its package ships it.

    Its Python side isn't imported: a figure is plain data.  Raises ``UserError`` without it.
    """
    found = find_spec("plotly")
    path = Path(found.origin or "").parent / "package_data" / "plotly.min.js" if found else None
    if path is None or not path.is_file():
        raise UserError("the package plotly is missing; make setup (or pip install plotly)")
    return path


@cache
def style_names() -> tuple[str, ...]:
    """Names of style elements that the plotting library adds unless a page has such an element.

    They are for maps; the pages' Content-Security-Policy refuses them.
    """
    script = plotting_script().read_text(encoding="utf-8")
    return tuple(dict.fromkeys(re.findall(r'getElementById\("([0-9a-f]{64})"\)', script)))
