"""Processes that begin as a copy of another: they have everything imported, and may be killed."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def forks_of(module: str) -> Iterator[Callable[..., tuple[int, str]]]:
    """Give a function that calls one of a test file's functions, by its name, in a process with the environment of now.

    It returns the exit code and what the process wrote. These processes are forks of one that has the file imported and, unlike the
    test's own, a single thread. Arguments are what JSON holds.
    """
    code = f"import sys\nsys.path[:0] = {sys.path!r}\nimport forks\nforks._serve({module!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None

    def call(name: str, *arguments: Any, **variables: str) -> tuple[int, str]:
        print(json.dumps([name, arguments, os.getcwd(), {**os.environ, **variables}]), file=parent.stdin, flush=True)
        found = json.loads(parent.stdout.readline())
        return found[0], found[1]

    try:
        yield call
    finally:
        parent.communicate()


def _serve(module: str) -> None:
    """Answer each line of the standard input with the exit code and the output of a fork."""
    functions = importlib.import_module(module)
    for line in sys.stdin:
        name, arguments, folder, environment = json.loads(line)
        with tempfile.TemporaryFile("w+") as output:
            code = in_a_fork(_work, getattr(functions, name), arguments, folder, environment, output.fileno())
            output.seek(0)
            print(json.dumps([code, output.read()]), flush=True)


def _work(work: Callable[..., object], arguments: list[Any], folder: str, environment: dict[str, str], output: int) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        work(*arguments)
    finally:
        sys.stdout.flush()
