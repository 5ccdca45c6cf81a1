"""Synthetic papers: invented mechanisms, written by a program, for demos, tests and benchmarks.

Every paper describes a made-up system of named parts.  Each part acts on the next ones, and the
sentences that say so lie scattered over the sections, so that questions over several steps can
be asked.  The texts say in their first lines that nothing in them is real; they are CC0.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

LICENCE = "CC0-1.0"
_SPINE = 10
_NOTICE = (
    "Synthetic text: invented by a program for software tests (CC0-1.0). No such system exists and"
    " no number below was measured."
)


@dataclass(frozen=True, slots=True)
class SyntheticPaper:
    """One generated paper; ``id`` is unique within a set and safe as a file name."""

    id: str
    title: str
    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class _Topic:
    """A field: its ``objects`` are what systems in it handle, ``pain`` what goes wrong there."""

    name: str
    objects: str
    pain: str
    measure: str
    corpora: tuple[str, ...]


_TOPIC_TABLE = """
distributed storage | replicas | stale reads | tail latency | Kelp-9, Marsh, Tidal
program repair | patches | overfitted fixes | plausible-fix ratio | Bugle, Quill, Tern
document retrieval | passages | vocabulary mismatch | recall | Osprey, Folio, Heron
object tracking | tracks | identity switches | association score | Glide, Plaza, Dusk
cluster scheduling | jobs | head-of-line blocking | makespan | Yard-4, Harbor, Dock
compiler optimisation | basic blocks | register spills | cycle count | Loom, Mica, Slate
graph learning | neighbourhoods | oversmoothing | node accuracy | Fern, Delta, Reef
speech recognition | utterances | boundary errors | word error | Chant, Parlor, Echo
robot manipulation | grasps | slippage | success ratio | Bench-3, Crate, Shelf
network telemetry | flows | sampling bias | detection delay | Spur, Backhaul, Mesh
query planning | join orders | cardinality drift | plan cost | Ledge, Orchard, Basin
federated training | clients | update skew | rounds to target | Hamlet, Parish, Quarry
program synthesis | sketches | search blow-up | solved ratio | Knot, Lattice-2, Thimble
image compression | tiles | ringing | bit budget | Grain, Meadow, Prism
access control | grants | privilege creep | review effort | Gate-7, Annex, Vault
time-series forecasting | windows | regime shifts | scaled error | Tariff, Almanac, Surge
"""
_FIRST_WORDS = """
amber aspen auburn basalt beacon birch bramble briar brindle bronze canyon cedar chalk cinder
citrine cobalt copper coral crimson cypress ember fallow flint garnet granite hazel heather hollow
indigo ivory jasper juniper kestrel lantern larch lichen linden magnet maple marble meridian moss
nettle nickel ochre onyx opal orchid pebble pewter quartz raven rowan russet saffron sienna silver
spruce sparrow tallow thistle topaz umber velvet walnut willow
"""
_SECOND_WORDS = """
arbiter anchor ballast bellows bracket buffer cascade cistern clutch comb compass crucible damper
dial drum escapement ferry filter flywheel funnel gasket gauge governor grid hinge hopper jig kiln
latch ledger lever loom manifold mixer nozzle pawl pendulum piston pivot pulley ratchet reel
regulator relay reservoir rudder sieve sluice spindle splitter spool sprocket stencil tether
throttle turbine turnstile valve vane weir winch
"""
_FIRST, _SECOND = _FIRST_WORDS.split(), _SECOND_WORDS.split()
_NAMES = ("Flow", "Net", "Core", "Lab", "Forge", "Path")

_LINKS = (
    "The {a} hands its surplus to the {b}, which would otherwise idle whenever demand dips.",
    "Because the {a} discards duplicates early, the {b} receives a thinner but cleaner stream.",
    "Whatever the {a} postpones is billed to the {b} at the close of an epoch.",
    "A tighter {a} forces the {b} to commit sooner, at the expense of rollback chances.",
    "The {b} inherits its schedule from the {a} and never negotiates it afresh.",
    "Only after the {a} has drained does the {b} accept fresh entries.",
    "We let the {a} bias the {b} by a small offset that decays geometrically.",
    "When the {a} saturates, pressure builds up in the {b} until one of its slots is evicted.",
    "The {a} publishes a digest from which the {b} reconstructs the missing ranks.",
    "An error in the {a} surfaces as jitter in the {b}, rarely as an outright failure.",
    "The {b} caches verdicts of the {a}, so a wrong verdict lingers for minutes.",
    "Tokens minted by the {a} are the sole currency that the {b} honours.",
    "The {a} narrows the candidate pool before the {b} spends any effort on scoring it.",
    "Through a one-bit hint, the {a} tells the {b} which half of its horizon to ignore.",
    "The {b} mirrors the {a} with a lag of three ticks, which dampens oscillation.",
    "Heat from the {a} is absorbed by the {b}, whose capacity bounds the burst length.",
    "The {a} rewrites stale keys in place, sparing the {b} an expensive rescan.",
    "If the {a} errs on the generous side, the {b} overcommits and must shed load.",
    "The {b} treats silence of the {a} as consent and proceeds speculatively.",
    "Gradients leaving the {a} are clipped by the {b} before they touch shared weights.",
    "The {a} partitions the domain, and the {b} stitches the seams back together.",
    "The {b} votes on proposals of the {a} with a quorum of five members.",
    "By design the {a} leaks a little confidence into the {b}, which keeps exploration alive.",
    "The {a} sets the tempo; the {b} merely counts beats and raises an alarm on drift.",
    "A checksum drawn by the {a} lets the {b} skip two thirds of its audits.",
    "The {a} borrows credit from the {b} during spikes and repays it at night.",
    "Interrupts of the {a} are coalesced by the {b}, trading promptness for throughput.",
    "The {a} keeps a coarse sketch that the {b} refines wherever residuals are loud.",
    "Once the {a} flips polarity, the {b} reverses its traversal and revisits old leaves.",
    "The {b} is seeded by the {a}, and a poor seed costs it dozens of iterations.",
    "The {a} throttles admission so that the {b} stays below its knee.",
    "Annotations added by the {a} steer the {b} away from brittle shortcuts.",
    "The {a} widens its margin under noise, which the {b} reads as permission to coast.",
    "Residual mass from the {a} is folded into the {b} with an exponential weight.",
    "The {b} replays the journal of the {a} and thereby repairs torn writes.",
    "The {a} masks outliers, so that the {b} fits its envelope to typical traffic.",
)
_ABLATIONS = (
    "Removing the {a} costs {n} points, nearly all of them lost while the {b} is starved.",
    "Freezing the {a} at its initial setting doubles the variance seen at the {b}.",
    "Swapping the {a} for a random stub leaves the {b} intact in calm phases only.",
    "With the {a} halved in capacity, the {b} recovers after {n} minutes on average.",
    "An oracle in the place of the {a} lifts the {b} by merely {n} percent.",
    "Doubling the {a} brings no benefit, since the {b} has become the bottleneck.",
    "Delaying the {a} by one tick is harmless; delaying the {b} as well is not.",
    "Without the {a}, operators had to restart the {b} by hand every {n} hours.",
)
_REMARKS = (
    "Operators we interviewed asked for predictable behaviour rather than peak speed.",
    "Prior designs treat these concerns in isolation and tune each by trial and error.",
    "The code base comprises {n} thousand lines and depends on no external service.",
    "Hyperparameters were fixed on a pilot run and never touched again.",
    "All runs share one random seed list, and every figure averages {n} repetitions.",
    "Confidence intervals come from a paired bootstrap over {n} resamples.",
    "We stopped a run early if its memory footprint exceeded {n} gigabytes.",
    "A reviewer might object that the workload is gentle; the appendix has a harsher one.",
    "Energy readings were taken at the wall socket with a calibrated meter.",
    "The trace spans {n} days and includes two public holidays.",
    "Readers in a hurry may skip the derivation and go straight to the tables.",
    "None of this hinges on a particular brand of hardware.",
    "An early prototype was abandoned after {n} weeks because it was hard to debug.",
    "We chose plain names over acronyms on purpose.",
    "The dashboard refreshes every {n} seconds, which proved sufficient in practice.",
    "Two of the authors checked the arithmetic independently.",
    "Earlier drafts overstated this point, and we thank a colleague for objecting.",
    "Rounding is to the nearest tenth unless stated otherwise.",
    "A public mirror keeps the configuration files for {n} months.",
    "Nothing prevents a gradual rollout, one region after another.",
    "The threshold was picked from {n} candidates by grid search.",
    "Failures were injected by hand during office hours.",
    "Licensing questions are outside the scope of this text.",
    "We had to exclude {n} records with corrupt timestamps.",
)
_LIMITS = (
    "The interplay of the {a} and the {b} was studied on commodity machines alone.",
    "An adversary who controls the {a} could mislead the {b} unnoticed.",
    "We have no proof that the {a} keeps the {b} stable under churn.",
    "Tuning the {a} for one site may unbalance the {b} at another.",
)


def generate_papers(count: int, seed: int = 0) -> list[SyntheticPaper]:
    """``count`` papers; the same for the same seed, and a longer list extends a shorter one."""
    topics = _topics()
    return [
        _paper(n, topics[n % len(topics)], Random(f"synthetic {seed} {n}")) for n in range(count)
    ]


def write_papers(folder: Path, count: int, seed: int = 0) -> list[SyntheticPaper]:
    """Write ``<id>.txt`` for each paper and the manifest ``papers.jsonl`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    papers = generate_papers(count, seed)
    rows = []
    for paper in papers:
        data = paper.text.encode()
        (folder / f"{paper.id}.txt").write_bytes(data)
        row = {"id": paper.id, "file": f"{paper.id}.txt", "title": paper.title}
        row |= {"topic": paper.topic, "sha256": hashlib.sha256(data).hexdigest()}
        rows.append(json.dumps(row | {"licence": LICENCE, "synthetic": True}))
    (folder / "papers.jsonl").write_text("\n".join(rows) + "\n" if rows else "")
    return papers


class _Writer:
    """The parts of one system, how they depend on each other, and sentences about that.

    No template is used twice before all of its kind were used.
    """

    def __init__(self, rng: Random, topic: _Topic) -> None:
        self.rng = rng
        self.topic = topic
        parts = rng.randint(17, 27)
        firsts, seconds = rng.sample(_FIRST, parts), rng.sample(_SECOND, parts)
        self.parts = [f"{a} {b}" for a, b in zip(firsts, seconds, strict=True)]
        self.edges = self._edges()
        self._decks: dict[int, list[str]] = {}

    def _edges(self) -> list[tuple[str, str]]:
        """A spine of parts, and short branches that leave it at random places."""
        edges = list(zip(self.parts[: _SPINE - 1], self.parts[1:_SPINE], strict=True))
        at = self.rng.choice(self.parts[1 : _SPINE - 2])
        for n, part in enumerate(self.parts[_SPINE:]):
            if n % 3 == 0:
                at = self.rng.choice(self.parts[1 : _SPINE - 2])
            edges.append((at, part))
            at = part
        return edges

    def say(self, templates: tuple[str, ...], edge: tuple[str, str] = ("", "")) -> str:
        deck = self._decks.setdefault(id(templates), [])
        if not deck:
            deck += self.rng.sample(templates, len(templates))
        return deck.pop().format(a=edge[0], b=edge[1], n=self.rng.randint(3, 97))

    def paragraph(self, edges: list[tuple[str, str]], templates: tuple[str, ...]) -> str:
        sentences = [self.say(templates, edge) for edge in edges]
        sentences.insert(self.rng.randint(0, len(sentences)), self.say(_REMARKS))
        return " ".join(sentences)


def _topics() -> list[_Topic]:
    rows = (line.split(" | ") for line in _TOPIC_TABLE.strip().splitlines())
    return [_Topic(a, b, c, d, tuple(names.split(", "))) for a, b, c, d, names in rows]


def _paper(index: int, topic: _Topic, rng: Random) -> SyntheticPaper:
    writer = _Writer(rng, topic)
    name = rng.choice(_FIRST).capitalize() + rng.choice(_NAMES)
    title = f"{name}: Taming {topic.pain.title()} in {topic.name.title()}"
    sections = [
        f"# {title}",
        _NOTICE,
        _abstract(writer, name),
        _introduction(writer, name),
        _method(writer),
        _experiments(writer, name),
        _limitations(writer),
    ]
    slug = f"synthetic-{index:04d}-{name.lower()}-{topic.name.replace(' ', '-')}"
    return SyntheticPaper(slug, title, topic.name, "\n\n".join(sections) + "\n")


def _abstract(writer: _Writer, name: str) -> str:
    topic, parts = writer.topic, writer.parts
    gain = writer.rng.randint(6, 31)
    return (
        f"## Abstract\n\nSystems for {topic.name} suffer from {topic.pain}. We present {name},"
        f" which handles {topic.objects} by way of {len(parts)} cooperating parts, from the"
        f" {parts[0]} to the {parts[_SPINE - 1]}. On {', '.join(topic.corpora[:2])} and"
        f" {topic.corpora[2]} it improves {topic.measure} by {gain} percent. An ablation shows"
        " which dependencies carry the effect."
    )


def _introduction(writer: _Writer, name: str) -> str:
    topic = writer.topic
    opening = (
        f"Anyone who runs {topic.name} at scale meets {topic.pain} sooner or later. The usual"
        f" remedy is to add slack, which hurts {topic.measure}. {name} takes another route: it"
        " lets small parts act on each other in a fixed order, so that trouble is dealt with"
        " where it arises."
    )
    asides = " ".join(writer.say(_REMARKS) for _ in range(3))
    edges = writer.rng.sample(writer.edges, 3)
    return f"## Introduction\n\n{opening}\n\n{asides}\n\n{writer.paragraph(edges, _LINKS)}"


def _method(writer: _Writer) -> str:
    """Every dependency once, a few at a time, not in the order of the chain."""
    edges = writer.rng.sample(writer.edges, len(writer.edges))
    parts = [
        f"## Method\n\nOne round passes over all {writer.topic.objects} in a batch. Parts exchange"
        " only what is named below; nothing else is shared."
    ]
    for start in range(0, len(edges), 4):
        group = edges[start : start + 4]
        heading = f"### The {group[0][0]} and its surroundings"
        more = writer.paragraph(writer.rng.sample(writer.edges, writer.rng.randint(3, 5)), _LINKS)
        parts += [heading, writer.paragraph(group, _LINKS), more]
    return "\n\n".join(parts)


def _experiments(writer: _Writer, name: str) -> str:
    rng, topic = writer.rng, writer.topic
    head = "System | " + " | ".join(topic.corpora)
    rows = [
        f"{who} | " + " | ".join(f"{rng.uniform(low, low + 9):.1f}" for _ in topic.corpora)
        for who, low in (("No control", 41), ("Static slack", 52), ("Tuned slack", 57), (name, 66))
    ]
    dropped = rng.sample(writer.parts, 6)
    losses = [f"without the {part} | {rng.uniform(0.4, 17):.1f}" for part in dropped]
    ablations = [writer.paragraph(rng.sample(writer.edges, 4), _ABLATIONS) for _ in range(3)]
    return "\n\n".join(
        [
            f"## Experiments\n\nWe measure {topic.measure} on three corpora.",
            f"Table: {topic.measure} by system (higher is better).",
            "\n".join([head, *rows]),
            *ablations,
            f"Table: loss in {topic.measure} when one part is removed.",
            "\n".join(["Variant | loss", *losses]),
        ]
    )


def _limitations(writer: _Writer) -> str:
    edges = writer.rng.sample(writer.edges, 4)
    return f"## Limitations\n\n{writer.paragraph(edges, _LIMITS)}"
