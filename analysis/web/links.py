"""Where pages lie: on the server, or within one file."""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from inner_agent.papers import file_name


class Links(Protocol):
    """Addresses of a run's pages, to be put into ``href`` attributes.

    ``paper`` is empty where that storyboard isn't at hand (a report carries a sample of them).
    """

    def overview(self, section: str = "") -> str:
        """The run's first page, or a section of it."""
        ...

    def candidate(self, iteration: int, section: str = "") -> str:
        """An iteration and the candidate that it made."""
        ...

    def paper(
        self, candidate: int, part: str, iteration: int, paper: str, section: str = ""
    ) -> str:
        """The storyboard of one rollout, or a section of it (``round-3``, ``audit``, ``fresh``)."""
        ...

    def raw(self, candidate: int, part: str, iteration: int, paper: str) -> str:
        """The raw messages of one rollout."""
        ...

    def search(self, query: str = "") -> str:
        """The search page."""
        ...


@dataclass(frozen=True, slots=True)
class ServerLinks:
    """Pages of the run that the server knows as ``name``."""

    name: str

    def overview(self, section: str = "") -> str:
        return f"/{quote(self.name, safe='')}/{f'#{section}' if section else ''}"

    def candidate(self, iteration: int, section: str = "") -> str:
        return f"{self.overview()}candidates/{iteration}{f'#{section}' if section else ''}"

    def paper(
        self, candidate: int, part: str, iteration: int, paper: str, section: str = ""
    ) -> str:
        where = f"papers/{candidate}/{quote(part, safe='')}/{iteration}"
        below = f"#paper-{section}" if section else ""
        return f"{self.overview()}{where}/{quote(file_name(paper), safe='')}{below}"

    def raw(self, candidate: int, part: str, iteration: int, paper: str) -> str:
        return f"{self.paper(candidate, part, iteration, paper)}/raw"

    def search(self, query: str = "") -> str:
        return f"{self.overview()}search{f'?q={quote(query)}' if query else ''}"


@dataclass(frozen=True, slots=True)
class FileLinks:
    """Sections of one file; ``papers`` has the keys of the storyboards in it."""

    papers: frozenset[tuple[int, str, int, str]] = frozenset()

    def overview(self, section: str = "") -> str:
        return f"#{section or 'top'}"

    def candidate(self, iteration: int, section: str = "") -> str:
        return f"#candidate-{iteration}"

    def paper(
        self, candidate: int, part: str, iteration: int, paper: str, section: str = ""
    ) -> str:
        if (candidate, part, iteration, paper) not in self.papers:
            return ""
        where = f"#paper-{candidate}-{part}-{iteration}-{quote(file_name(paper), safe='')}"
        return f"{where}-{section}" if section else where

    def raw(self, candidate: int, part: str, iteration: int, paper: str) -> str:
        return ""

    def search(self, query: str = "") -> str:
        return ""
