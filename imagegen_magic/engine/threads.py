"""Threads for blocking work, a pool for each kind, so that short work never waits for long work.

The event loop's default pool resolves host names; decoding, drawing and writing have pools of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

IN_MEMORY = 4  # pictures whose bytes are in memory at once, to be verified and saved; two of them are decoded at a time
_WRITERS = 8  # parts of downloads that are written at once
_CALLERS = 4  # functions of plug-ins that are called at once
_DRAWERS = 2  # previews and grids that are drawn at once, for what is shown

_pools: dict[str, ThreadPoolExecutor] = {}


async def saving(function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """Verify and save one picture in a thread; at most `IN_MEMORY` at once."""
    return await _run("saving", IN_MEMORY, function, *args, **named)


async def writing(function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """Read or write the disk briefly in a thread."""
    return await _run("writing", _WRITERS, function, *args, **named)


async def drawing(function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """Decode or draw for display in a thread; saving never waits for it."""
    return await _run("drawing", _DRAWERS, function, *args, **named)


async def calling(function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """Call a plug-in's blocking function in a thread, without a time limit."""
    return await _run("calling", _CALLERS, function, *args, **named)


async def _run(kind: str, size: int, function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    pool = _pools.get(kind) or _pools.setdefault(kind, ThreadPoolExecutor(size, f"imagegen-{kind}"))
    call = partial(contextvars.copy_context().run, function, *args, **named)
    return await asyncio.get_running_loop().run_in_executor(pool, call)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # their threads stay in the parent
