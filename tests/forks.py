"""Processes that begin as a copy of the test's own: they have everything imported, and may be killed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any


def in_a_fork(work: Callable[..., object], *arguments: Any) -> int:
    """Call `work` in a forked process, and return its exit code: 0, 1 if it raised, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
