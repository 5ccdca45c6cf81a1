"""Faults of a provider, driven by a seed, on top of any reply function of the fake server.

Which request gets which fault is a function of the seed, the request's body and how often it came
before, so it doesn't depend on timing::

    server.reply = Faulty(Provider(), seed=1, share=0.2)

Every text that comes with a fault quotes ``secret``, as careless proxies do with a client's key.
Faults of content come at most twice running for one request: what is said a third time is, by
contract, the model's word.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fake_openai import Answer, Body, Broken, completion, failure, rate_limited

TRANSPORT = (
    "429", "429 with Retry-After", "500", "502", "503", "hang", "reset", "drip",
    "cut JSON", "HTML",
)  # fmt: skip
CONTENT = ("empty", "cut off", "refusal", "other model", "bad tool call", "no verdict")
ALL = TRANSPORT + CONTENT
MOST_CONTENT_FAULTS = 2


class Faulty:
    """Answers as ``sound`` does, but for a share of the requests.

    ``injected`` counts faults by kind, ``whole`` the complete replies that went out (a client has
    to pay for each), ``down`` the requests that found the server down: ``outage`` of them, after
    the first ``outage_at``.
    """

    def __init__(
        self,
        sound: Callable[[Body], Body],
        seed: int,
        share: float,
        kinds: Sequence[str] = ALL,
        secret: str = "",
        outage_at: int = 0,
        outage: int = 0,
    ) -> None:
        self.injected: Counter[str] = Counter()
        self.whole = 0
        self.requests = 0
        self.down = 0
        self.during_outage: Callable[[], None] = lambda: None
        self._sound, self._seed, self._share, self._kinds = sound, seed, share, kinds
        self._secret, self._outage = secret, range(outage_at, outage_at + outage)
        self._tries: Counter[str] = Counter()
        self._spoilt: Counter[str] = Counter()

    def __call__(self, body: Body) -> Answer:
        text = json.dumps(body, sort_keys=True)
        number, self.requests = self.requests, self.requests + 1
        if number in self._outage:
            self.down += 1
            self.during_outage()
            return failure(503, f"down for maintenance, {self._secret}")
        rng = random.Random(
            hashlib.sha256(f"{self._seed}/{self._tries[text]}/{text}".encode()).digest()
        )
        self._tries[text] += 1
        kinds = [k for k in self._kinds if self._fits(k, body, text)]
        if rng.random() >= self._share or not kinds:
            self.whole += 1
            self._spoilt[text] = 0
            return self._sound(body)
        kind = rng.choice(kinds)
        self.injected[kind] += 1
        if kind in CONTENT:
            self.whole += 1
            self._spoilt[text] += 1
        return _fault(kind, body, self._secret)

    def _fits(self, kind: str, body: Body, text: str) -> bool:
        if kind == "bad tool call" and not body.get("tools"):
            return False
        if kind == "no verdict" and body["model"] != "sim-judge":
            return False
        return kind not in CONTENT or self._spoilt[text] < MOST_CONTENT_FAULTS


def files_with(folder: Path, secret: str) -> list[Path]:
    """Every file below ``folder`` that has ``secret`` in it."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # SQLite's -shm goes with the last connection
            if path.is_file() and secret.encode() in path.read_bytes():
                found.append(path)
    return found


def _fault(kind: str, body: Body, secret: str) -> Answer:
    said = f"request with Authorization: Bearer {secret} failed"
    if kind in ("hang", "reset", "drip"):
        return Broken(kind)  # type: ignore[arg-type]
    if kind.isdigit():
        return failure(int(kind), said)
    wire: dict[str, Answer] = {
        "429 with Retry-After": rate_limited(20),
        "cut JSON": (200, {"Content-Type": "application/json"}, '{"choices": [{"message": {"con'),
        "HTML": (200, {"Content-Type": "text/html"}, f"<html>{said}</html>"),
        "empty": completion(""),
        "cut off": completion("The first half of", finish_reason="length"),
        "refusal": completion(None, refusal=f"I can't help with that ({said})"),
        "other model": {**completion(said), "model": f"tiny-{secret}"},
        "bad tool call": completion(said, tool_calls=[(f"{secret}", f'{{"a": {said}')]),
        "no verdict": completion(json.dumps({"criteria": [], "note": said})),
    }
    return wire[kind]
