"""Attempts that are repeated by tenacity's rules, at no cost where the first one succeeds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tenacity import AsyncRetrying, wait_random_exponential

T = TypeVar("T")

backoff = wait_random_exponential(multiplier=0.5, max=20)  # seconds


async def repeat(attempt: Callable[[], Awaitable[T]], **rules: Any) -> T:
    """Return what the first attempt returns that succeeds; `rules` are tenacity's. Raises the last attempt's error as it came.

    The rules are made, which takes as long as a small request, only once the first attempt has failed: its error is then theirs to judge.
    """
    try:
        return await attempt()
    except Exception as error:
        failed: Exception | None = error

    async def again() -> T:
        nonlocal failed
        if failed is not None:
            first, failed = failed, None
            raise first
        return await attempt()

    return await AsyncRetrying(reraise=True, **rules)(again)
