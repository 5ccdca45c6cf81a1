"""Papers, items and answers whose right treatment is known, to see what audit and judge are worth.

*Items* go to the auditor and *answers* to the judge once, when a run begins: what comes back is
recorded beside what is right.  *Papers* go to harnesses: nothing can be asked of them, so a
question that passes on one would have passed on any.  All of them are in ``honeypots.toml``.
"""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from inner_agent import items, roles
from inner_agent.audit import audit
from inner_agent.calls import Usage
from inner_agent.items import Item, parse_item
from inner_agent.papers import MANIFEST
from inner_agent.roles import Ask, NoAnswer
from inner_agent.settings import InnerConfig
from inner_agent.tasks.choice import task_of

FULL, EMPTY = 0.6, 0.3  # of a rubric: what a full answer earns at least, an empty one at most
STANDS = "it stands"  # said of an item that the auditor let stand
LICENCE = "CC0-1.0"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one honeypot (an ``item`` or an ``answer``) was treated; ``said`` is why."""

    kind: str
    name: str
    right: bool
    said: str


async def try_pots(ask: Ask, config: InnerConfig, usage: Usage) -> list[Outcome]:
    """Have judge and auditor treat their honeypots; nothing readable is wrong treatment.

    They are graded by rubric: of a task that has none, nothing is found out.
    Raises ``ProviderError`` or ``BudgetExhausted``.
    """
    if not task_of(config).by_rubric:
        return []
    pots = _pots()
    tried = [await _judged(ask, config, pot, usage) for pot in pots["answers"]]
    if config.audit.llm:
        tried += [await _audited(ask, config, pot, usage) for pot in pots["items"]]
    return tried


def missed(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A line for each honeypot that was treated wrongly."""
    return (f"{o.kind} {o.name!r}: {o.said}" for o in outcomes if not o.right)


def write_papers(folder: Path) -> None:
    """Write the honeypot papers as a folder of papers with a manifest, last of all."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for pot in _pots()["papers"]:
        text, name = f"# {pot['title']}\n\n{pot['text']}\n", f"{pot['id']}.txt"
        (folder / name).write_text(text, encoding="utf-8")
        row = {"id": pot["id"], "file": name, "title": pot["title"], "licence": LICENCE}
        rows.append(row | {"sha256": sha256(text.encode()).hexdigest()})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / MANIFEST).write_text(lines, encoding="utf-8")


def paper_text() -> str:
    """The paper that the honeypot items were made from."""
    return str(_pots()["paper"])


def pot_items() -> dict[str, Item]:
    """The honeypot items by name."""
    return {pot["name"]: _item(pot) for pot in _pots()["items"]}


@cache
def _pots() -> dict[str, Any]:
    path = Path(__file__).with_suffix(".toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _item(pot: dict[str, Any]) -> Item:
    base = _pots()["item"]
    return parse_item({key: pot.get(key, value) for key, value in base.items()})


async def _judged(ask: Ask, config: InnerConfig, pot: dict[str, Any], usage: Usage) -> Outcome:
    name, item, model = pot["name"], _item({}), config.models["judge"]
    try:
        verdicts = await roles.judge(ask, model, item, pot["answer"], f"honeypot/{name}", usage)
    except NoAnswer as e:
        return Outcome("answer", name, False, str(e))
    score = items.score(item.rubric, [v.score for v in verdicts])
    right = score >= FULL if pot["full"] else score <= EMPTY
    return Outcome("answer", name, right, f"{score:.0%} of the rubric")


async def _audited(ask: Ask, config: InnerConfig, pot: dict[str, Any], usage: Usage) -> Outcome:
    name = pot["name"]
    try:
        report = await audit(ask, config, _item(pot), paper_text(), f"honeypot/{name}", usage)
    except NoAnswer as e:
        return Outcome("item", name, False, str(e))
    said = ", ".join(f.check for f in report.findings) or STANDS
    return Outcome("item", name, report.passed == pot["sound"], said)
