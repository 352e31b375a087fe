"""One painter for all who ask: request after request, and only a few may wait."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from starlette.exceptions import HTTPException

MAX_REQUESTS = 8  # under way or waiting; a picture that comes later than that is late
RETRY_SECONDS = 1

T = TypeVar("T")


class PaintingQueue:
    """Runs work on one thread, in the order in which it comes.

    One request already uses all cores; two at once would both be late.

    Args:
        max_requests: int. How many may be under way or wait.
    """

    def __init__(self, max_requests: int = MAX_REQUESTS):
        self._max = max_requests
        self._free = threading.Semaphore(max_requests)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "painter")

    async def run(self, work: Callable[[], T]) -> T:
        """What `work()` returns.

        Raises:
            HTTPException: 503 when too many wait already.
        """
        if not self._free.acquire(blocking=False):
            raise HTTPException(
                503,
                f"{self._max} requests are waiting already; try again in a moment.",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        try:
            future = self._thread.submit(work)
        except BaseException:
            self._free.release()
            raise
        # Not when the one who waits goes away: the work counts until it is done.
        future.add_done_callback(lambda _: self._free.release())
        return await asyncio.wrap_future(future)
