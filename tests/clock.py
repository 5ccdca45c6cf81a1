"""A clock whose pauses take no time: time passes by as much as anybody wants to sleep."""

import asyncio
import time


class SkippingClock:
    """``slept`` has every pause, in seconds."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._total = 0.0

    def now(self) -> float:
        """Real time and all that was slept."""
        return time.monotonic() + self._total

    async def sleep(self, seconds: float) -> None:
        """Only lets others run."""
        self.slept.append(seconds)
        self._total += seconds
        await asyncio.sleep(0)
