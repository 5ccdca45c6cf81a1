"""Questions as vectors of a model: near-duplicates in other words, and a Vendi score of the sense.

Vectors come from a server with the OpenAI embeddings interface that the user names, and are kept by
server, model and text in ``$XDG_CACHE_HOME/metaopt/embeddings.db``: what was asked once isn't sent
again.  The kernel is the cosine of two vectors.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from analysis.cache import cache_home
from analysis.inspect.diversity import effective
from analysis.inspect.spread import Spread, spread
from inner_agent.durable import open_database
from inner_agent.errors import ProviderError, UserError
from inner_agent.llm import OpenAIEndpoint, key_problem
from inner_agent.settings import Endpoint, validate

FORMAT = 1
SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
NAME = "embeddings"
NEAR_AT = 0.9  # cosine, where nothing else is asked for
BATCH = 32  # texts in a request
IN_FLIGHT = 4  # requests
TIMEOUT_S, OUTAGE_S, RETRIES = 300.0, 10.0, 2
_BLOCK = 256  # rows of the kernel at a time

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedder:
    """A model behind an OpenAI-compatible endpoint; ``key_env`` names the variable with its key.

    ``near``: the cosine from which two texts are near-duplicates.
    """

    base_url: str
    model: str
    key_env: str
    near: float


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts by their vectors.  ``near`` is the share to take out until one of each cluster is left;
    a cluster is what pairs of cosine ``near_at`` or more connect, ``clusters`` are those of two and
    more, as positions, the largest first.  ``nearest``: of each text, the cosine to the one that is
    most like it (``None`` of a single text); ``vendi`` is exact, between 1 and ``texts``."""

    model: str
    near_at: float
    texts: int
    near: float
    pairs: int
    clusters: tuple[tuple[int, ...], ...]
    nearest: Spread | None
    vendi: float

    @property
    def largest(self) -> int:
        """Texts in the largest cluster; 1 where nothing repeats."""
        return max((len(c) for c in self.clusters), default=1)

    @property
    def share(self) -> float:
        """The Vendi score for each text."""
        return self.vendi / self.texts


def embedded(texts: Sequence[str], by: Embedder) -> Embedded:
    """Look at texts by their vectors.  Raises ``UserError`` when the endpoint gives none."""
    rows = vectors(texts, by)
    first, second, nearest = _pairs(rows, by.near)
    count = len(rows)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    parts, of = connected_components(links, directed=False)
    members = [np.flatnonzero(of == n) for n in np.flatnonzero(np.bincount(of) > 1)]
    clusters = sorted((tuple(map(int, m)) for m in members), key=lambda m: (-len(m), m))
    return Embedded(
        by.model, by.near, count, 1 - parts / count, len(first), tuple(clusters),
        spread(nearest) if count > 1 else None, vendi(rows),
    )  # fmt: skip


def vendi(rows: Vectors) -> float:
    """The Vendi score of unit rows by their scalar products, exact: the kernel's eigenvalues are
    those of the smaller of its two Gram matrices.  O(n d min(n, d)) time."""
    tall = rows.astype(np.float64)
    gram = tall.T @ tall if tall.shape[1] < len(tall) else tall @ tall.T
    return effective(eigvalsh(gram / len(tall), overwrite_a=True, check_finite=False))


def _pairs(rows: Vectors, near: float) -> tuple[list[int], list[int], list[float]]:
    """Pairs of cosine ``near`` or more, and each row's cosine to its nearest other one."""
    first: list[int] = []
    second: list[int] = []
    nearest: list[float] = []
    for k in range(0, len(rows), _BLOCK):
        alike = rows[k : k + _BLOCK] @ rows.T
        itself = np.arange(len(alike))
        alike[itself, k + itself] = -1
        nearest += np.minimum(alike.max(axis=1), 1).tolist()
        left, right = np.nonzero(np.triu(alike >= near - 1e-6, k + 1))
        first += (left + k).tolist()
        second += right.tolist()
    return first, second, nearest


def vectors(texts: Sequence[str], by: Embedder) -> Vectors:
    """Rows of length 1, one a text, from the cache or the endpoint.  Raises ``UserError``."""
    keys = [sha256(f"{by.base_url}\0{by.model}\0{text}".encode()).digest() for text in texts]
    with closing(_open_cache()) as cache:
        known = _known(cache, keys)
        owed = {k: text for k, text in zip(keys, texts, strict=True) if k not in known}
        if owed:
            asyncio.run(_ask(by, owed, cache))
            known |= _known(cache, list(owed))
    rows = [np.frombuffer(known[key], np.float32) for key in keys]
    sizes = sorted({len(row) for row in rows})
    if len(sizes) > 1:
        raise UserError(
            f"--embeddings: {by.model} gave vectors of {sizes[0]} and of {sizes[-1]} numbers; give"
            " one model another name than the next"
        )
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


def _open_cache() -> Connection:
    """In memory where the cache can't be written to."""
    path: Path | str = cache_home() / "metaopt" / f"{NAME}.db"
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        path = ":memory:"
    return open_database(path, SCHEMA, FORMAT, synchronous="NORMAL")


def _known(cache: Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for n in range(0, len(keys), 500):
        some = keys[n : n + 500]
        marks = ",".join("?" * len(some))
        found |= dict(
            cache.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some)
        )
    return found


async def _ask(by: Embedder, owed: dict[bytes, str], cache: Connection) -> None:
    """Ask for what isn't known; each answer is kept at once.  Raises ``UserError``."""
    endpoint, parts = _endpoint(by), list(owed.items())

    async def some(part: Sequence[tuple[bytes, str]]) -> None:
        found = await endpoint.embed(by.model, [text for _, text in part])
        pairs = ((key, _scaled(v)) for (key, _), v in zip(part, found, strict=True))
        cache.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", pairs)

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(0, len(parts), BATCH):
                group.create_task(some(parts[n : n + BATCH]))
    except* ProviderError as e:
        why = str(e.exceptions[0]).removeprefix(f"endpoints.{NAME}: ")
        raise UserError(f"--embeddings {by.base_url}: {why}") from None
    finally:
        await endpoint.close()


def _scaled(vector: Sequence[float]) -> bytes:
    """As it is kept: the largest number is 1, so that none is too large or too small for its type
    or for the vector's length.  Cosines stay as they are."""
    whole = np.array(vector)
    scaled: Vectors = (whole / np.abs(whole).max()).astype(np.float32)
    return scaled.tobytes()


def _endpoint(by: Embedder) -> OpenAIEndpoint:
    given = {"base_url": by.base_url, "api_key_env": by.key_env}
    checked = validate(Endpoint, given, "--embeddings")
    key = os.environ.get(by.key_env, "") if by.key_env else "none"
    if not key:
        raise UserError(f"--embeddings-key {by.key_env}: that variable isn't set; export it")
    if problem := key_problem(key):
        raise UserError(f"--embeddings-key {by.key_env}: the key in it {problem}; export it anew")
    return OpenAIEndpoint(
        NAME, checked.base_url, key, IN_FLIGHT, timeout_s=TIMEOUT_S, max_retries=RETRIES,
        outage_s=OUTAGE_S,
    )  # fmt: skip
