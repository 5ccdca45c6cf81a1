"""The card of an export: ``README.md`` with what the Hugging Face hub reads at its top, the table
of source papers, and the summary that is printed.

Everything in it comes from the data sets: the same data give the same card on any day.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.export.columns import card_features, shown, yaml
from analysis.export.dataset import DataSet, PaperOf
from analysis.export.files import Written
from analysis.export.formats import Format
from analysis.export.rewards import Reward, compared_by
from analysis.export.splits import HELD_OUT, Split
from analysis.markdown import as_table, escape
from analysis.report import Table
from inner_agent.learnings import ROLE
from inner_agent.settings import INNER_ROLES
from inner_agent.tasks.choice import task_of
from metaopt.text import clean, one_line, several

SOURCES = "SOURCES.csv"
FORMULA = ("=", "+", "-", "@")  # how one begins
NAMED = 5  # papers in one line of the summary
SIMULATED = "SIMULATED: these items say nothing about real models"
# Those of the hub's licence names that papers come under; others are given as they are.
HUB_LICENCES = {
    "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "odc-by",
    "apache-2.0", "mit",
}  # fmt: skip
TASKS = {
    "jsonl": "All that is known of each item, JSON Lines; `rubric` and `attempts` are JSON text.",
    "parquet": "All that is known of each item; `rubric` and `attempts` are JSON text.",
    "hf": "All that is known of each item; `rubric` and `attempts` are lists of structs.",
    "sft": "Prompts and completions for supervised fine-tuning, in messages.",
    "dpo": "Preferences: the best answer of the strong solver over the worst of the weak one.",
    "trl": "Prompts for TRL's GRPO, with a reward function that {scores}.",
    "verl": "Rows for verl, with a reward function that {scores}.",
}
# What the items are, by task, after "Language models wrote the ".
WRITTEN = {
    "rubric": "questions, reference answers and rubrics from research papers; they were kept where"
    " a strong solver did clearly better than a weak one (Autodata, Kulikov et al. 2026).",
    "verifiable": "questions and their right answers from research papers; they were kept where a"
    " strong solver was mostly right and a weak one wrong (Autodata, Kulikov et al. 2026).",
    "learnable": "questions, reference answers and rubrics from research papers; they were kept"
    " where a judge who read all attempts of two solvers called them worth training on (Autodata,"
    " Kulikov et al. 2026).",
}


@dataclass(slots=True)
class Source:
    """What became of a source paper: its part of the split, and how many items are about it."""

    part: str
    items: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """What the card says; ``kind`` is the items' task and whether they have a rubric, ``items`` are
    counted by the number of their data set."""

    format: str
    name: str
    form: Format
    data: Sequence[DataSet]
    kind: tuple[str, bool]
    reward: Reward | None
    split: Split
    written: Sequence[Written]
    sources: Mapping[PaperOf, Source]
    left_out: Mapping[str, Counter[str]]
    items: Counter[int]
    longest_prompt: int

    @property
    def simulated(self) -> bool:
        """Were these made with the simulator?"""
        return self.data[0].config.simulated

    @property
    def licences(self) -> Counter[str]:
        """Items by the licence of their paper; the empty one is none."""
        found = Counter[str]()
        for paper, source in self.sources.items():
            found[paper.licence] += source.items
        return found

    @property
    def papers(self) -> int:
        """How many source papers; one may have other licences, or texts, in other data sets."""
        return len({paper.id for paper in self.sources})


def write_card(card: Card, folder: Path) -> None:
    """Put ``README.md`` and ``SOURCES.csv`` into the export's folder."""
    head = yaml(_front(card))
    text = f"---\n{head}---\n\n" + "\n\n".join(_sections(card)) + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    with open(folder / SOURCES, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["paper_id", "title", "licence", "sha256", "part", "items"])
        for paper, source in sorted(card.sources.items(), key=lambda pair: pair[0].id):
            told = map(_cell, (paper.id, paper.title, paper.licence))
            table.writerow([*told, paper.sha256, source.part, source.items])


def _cell(text: str) -> str:
    """A paper's words for a spreadsheet, which would take some for a formula: the quotation mark in
    front says that they are text."""
    shown = clean(text)
    return f"'{shown}" if shown.lstrip()[:1] in FORMULA else shown


def summary(card: Card, out: Path) -> str:
    """What was written and what wasn't, for a terminal."""
    rows = sum(w.rows for w in card.written)
    pairs = [
        ("written", f"{several(rows, 'item')} of {several(card.papers, 'paper')},"
                    f" {card.format}, in {out}"),
        ("split", ", ".join(f"{w.part} {w.rows:,}" for w in card.written) + _why_so_few(card)),
        ("licences", ", ".join(f"{one_line(name) or 'none'} {n:,}"
                               for name, n in card.licences.most_common())),
        *(("left out", _refused(why, papers)) for why, papers in card.left_out.items()),
        *(("lost", line) for data in card.data for line in data.lost),
        ("card", str(out / "README.md")),
    ]  # fmt: skip
    lines = [f"{name:<10}{text}" for name, text in pairs]
    return "\n".join([SIMULATED, *lines] if card.simulated else lines)


def _why_so_few(card: Card) -> str:
    held = sum(w.rows for w in card.written if w.part == "test")
    if not card.split.test_below or held >= HELD_OUT:
        return ""
    return f" (to hold out: {card.split.rule})"


def _refused(why: str, papers: Counter[str]) -> str:
    named = ", ".join(one_line(paper, 60) for paper in list(papers)[:NAMED])
    more = f" and {len(papers) - NAMED} more" if len(papers) > NAMED else ""
    return f"{several(papers.total(), 'item')}, as {why}: {named}{more}"


def _front(card: Card) -> dict[str, Any]:
    rows = sum(w.rows for w in card.written)
    marks = ["synthetic", "autodata", "metaopt"] + ["simulated"] * card.simulated
    return {
        "pretty_name": _title(card),
        "language": ["en"],
        **_licence(card),
        "size_categories": [_size(rows)],
        "task_categories": ["question-answering", "text-generation"],
        "annotations_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "tags": marks,
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": w.part, "path": f"data/{w.part}-*.{card.form.suffix}"}
                    for w in card.written
                ],
                "default": True,
            }
        ],
        "dataset_info": {
            "features": card_features(card.form.columns),
            "splits": [
                {"name": w.part, "num_bytes": w.bytes, "num_examples": w.rows} for w in card.written
            ],
            "download_size": sum(w.file_bytes for w in card.written),
            "dataset_size": sum(w.bytes for w in card.written),
        },
    }


def _licence(card: Card) -> dict[str, str]:
    """One that the hub knows, if all papers have it; else where to read which paper has which."""
    names = {name.lower() for name in card.licences}
    if len(names) == 1 and names <= HUB_LICENCES:
        return {"license": names.pop()}
    return {"license": "other", "license_name": "of-the-source-papers", "license_link": SOURCES}


def _size(rows: int) -> str:
    steps = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")]
    return next((name for limit, name in steps if rows < limit), "100K<n<1M")


def _title(card: Card) -> str:
    return f"{card.name or 'Research questions'}{' (SIMULATED)' if card.simulated else ''}"


def _sections(card: Card) -> list[str]:
    return [
        f"# {escape(_title(card))}",
        *([f"**{SIMULATED}.** They were made to test software."] if card.simulated else []),
        f"{_purpose(card)} Language models wrote the {_written(card)}",
        *_contents(card),
        *_use(card),
        *_origin(card),
        *_licences(card),
    ]


def _purpose(card: Card) -> str:
    scores = "scores by the rubric" if card.kind[1] else "compares final answers"
    return TASKS[card.format].format(scores=scores)


def _written(card: Card) -> str:
    task, own = card.kind[0], card.data[0].config.task.name
    by_module = f"items of the task `{escape(task)}`, a module that says which are kept."
    return WRITTEN.get(own, by_module)


def _contents(card: Card) -> list[str]:
    parts = [[w.part, f"{w.rows:,}", f"{w.files:,}"] for w in card.written]
    columns = [[name, shown(kind)] for name, kind in card.form.columns.items()]
    return [
        "## What is in it",
        as_table(Table(["part", ">items", ">files"], parts)),
        f"Held out: {card.split.rule} (seed {card.split.seed}), by a hash of the paper's id: all"
        " items of a paper are in one part. `split.json` has the boundary.",
        as_table(Table(["column", "type"], columns)),
    ]


def _use(card: Card) -> list[str]:
    lines = ["## How to use it", _code("python", _LOAD.format(files=_files(card)))]
    if card.reward:
        lines.append(card.reward.says)
    if card.reward and card.format == "trl":
        lines.append(_code("python", _TRL.format(reward=card.reward.name)))
    if card.reward and card.format == "verl":
        tokens = max(1_024, -(-(card.longest_prompt // 3 + 64) // 512) * 512)
        lines += [
            "**`data.max_prompt_length` has to be raised.** verl's own is 512 tokens, and a longer"
            " prompt stops the training or is left out. The longest one here has"
            f" {card.longest_prompt:,} characters: {tokens:,} tokens should do; your tokenizer"
            " knows better.",
            _code("bash", _verl_command(card, tokens)),
        ]
    return lines


def _verl_command(card: Card, tokens: int) -> str:
    assert card.reward
    return _VERL.format(tokens=tokens, held=card.written[-1].part, reward=card.reward.name)


def _files(card: Card) -> str:
    return f"data/*.{card.form.suffix}"


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}```"


_LOAD = """\
from datasets import load_dataset

data = load_dataset("FOLDER")  # this folder; its files are {files}
"""
_TRL = """\
from {reward} import {reward}  # with this folder on the path
from trl import GRPOConfig, GRPOTrainer

trainer = GRPOTrainer(
    model=MODEL,
    reward_funcs={reward},
    train_dataset=data["train"],
    args=GRPOConfig(remove_unused_columns=False),  # the reward reads the other columns
)
"""
_VERL = """\
python3 -m verl.trainer.main_ppo \\
    data.train_files="[$(ls FOLDER/data/train-*.parquet | paste -sd,)]" \\
    data.val_files="[$(ls FOLDER/data/{held}-*.parquet | paste -sd,)]" \\
    data.max_prompt_length={tokens} \\
    custom_reward_function.path=FOLDER/{reward}.py \\
    custom_reward_function.name=compute_score
"""


def _origin(card: Card) -> list[str]:
    lines = ["## Where it is from"]
    for number, data in enumerate(card.data):
        days = sorted(data.made.values())
        lines += [
            f"### Data set {number + 1}" if len(card.data) > 1 else "",
            as_table(Table(["what", "value"], _facts(data, card.items[number], days))),
            as_table(
                Table(["role", "model", ">temperature", ">max. tokens", "mode"], _models(data))
            ),
        ]
    lines.append(f"Exported by metaopt {version('metaopt')}.")
    return [line for line in lines if line]


def _facts(data: DataSet, items: int, days: Sequence[str]) -> list[list[str]]:
    config = data.config
    scored = "fresh attempts, which the harness never saw" if config.score == "fresh" else (
        "the attempts in the loop"
    )  # fmt: skip
    return [
        ["items here", f"{items:,}"],
        ["papers tried", f"{data.papers:,}"],
        *_several(data),
        ["made (UTC)", days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"],
        ["simulated", "yes" if config.simulated else "no"],
        ["harness, commit", data.harness.commit],
        ["harness, tree", data.harness.tree],
        ["task", Path(config.task.name).name],
        ["rule of acceptance", _rule(data)],
        *([["answers are compared", compared]] if (compared := compared_by(data)) else []),
        ["scores are of", scored],
        ["seed", str(config.seed)],
    ]


def _several(data: DataSet) -> list[list[str]]:
    """What items were told of others: several of one paper, and what a batch taught the next."""
    plan, rows = data.plan, []
    if plan.items_per_paper > 1:
        told = "each told of the paper's earlier ones"
        rows.append(["items of a paper", f"{plan.items_per_paper} tried at most, {told}"])
    if plan.batch:
        rows.append(
            ["batches", f"{plan.batch:,} rollouts each, told what the batches before had taught"]
        )
    return rows


def _rule(data: DataSet) -> str:
    """As the task has it; of one's own, whose module isn't loaded, what decides."""
    config = data.config
    if config.task.name == "rubric":
        criteria = config.criteria.model_dump(exclude={"preset"})
        values = ", ".join(f"{name} = {value}" for name, value in criteria.items())
        return f"{config.criteria.preset}: {values}"
    if config.task.name not in WRITTEN:
        return "that of the task's own module"
    rule = task_of(config).rule
    if config.task.name == "learnable":
        return (
            f"{rule.weak_text}, and calls the item's suitability {' or '.join(config.task.accept)}"
        )
    return f"{config.task.rule}: {rule.weak_text}, {rule.strong_text}"


def _models(data: DataSet) -> list[list[str]]:
    rows = []
    for role in (*INNER_ROLES, *([ROLE] if data.plan.batch else [])):
        if model := data.config.models.get(role):
            mode = [f"{model.attempts} attempts"] if role in ("weak", "strong") else []
            mode += [f"{model.samples} samples merged"] if model.samples > 1 else []
            mode += ["with the paper's text"] if model.paper else []
            mode += ["one criterion a call"] if model.judge_mode == "yes_no" else []
            mode += ["learnings between batches"] if role == ROLE else []
            rows.append([role, model.model, f"{model.temperature:g}", str(model.max_tokens),
                         ", ".join(mode)])  # fmt: skip
    return rows


def _licences(card: Card) -> list[str]:
    papers_of = Counter(paper.licence for paper in card.sources)
    rows = [
        [name or "none given", f"{papers:,}", f"{card.licences[name]:,}"]
        for name, papers in papers_of.most_common()
    ]
    out = [
        [why, f"{papers.total():,}", f"{len(papers):,}"] for why, papers in card.left_out.items()
    ]
    return [
        "## Licences",
        "A context is derived from its paper and carries that paper's licence, which is in the"
        f" column `licence`; `{SOURCES}` has every source paper with its title and licence.",
        as_table(Table(["licence", ">papers", ">items"], rows)),
        *([as_table(Table(["left out, as", ">items", ">papers"], out))] if out else []),
    ]
