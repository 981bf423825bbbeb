"""A pool of processes on this machine that fetch pictures: pipes and no socket, and no key in their environment.

They do not import the caller's `__main__`, as those of `multiprocessing` do: a script without a guard would send its requests again.
A process that ends takes its own batch with it and no other. All of them end with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from imagegen_magic.engine import credentials
from imagegen_magic.engine.workers.batches import Batches
from imagegen_magic.engine.workers.records import BackendLost, WorkerLost
from imagegen_magic.paths import Location

_GRACE = 2.0  # seconds that an idle process gets to end
_START = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; from {module} import serve; serve()"


class ProcessPoolBackend(Batches):
    """A pool of `count` processes, which start with the first batch and end when nothing was fetched for a while."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._free = asyncio.Semaphore(count)

    @property
    def slots(self) -> int:
        """One batch for each process."""
        return self._count

    async def check(self, folder: Location) -> None:
        """Raise nothing: they are on this machine."""

    async def check_resources(self, resources: Mapping[str, float]) -> None:
        """Raise nothing: they have what this machine has."""

    async def call(self, function: Callable[[Any], Any], argument: Any, resources: Mapping[str, float] | None = None) -> Any:
        """Run it in a process that is free, or in a new one."""
        async with self._free:
            return await self._call(function, argument)

    async def _call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._count, "imagegen-worker")
        loop, worker = asyncio.get_running_loop(), self._idle.pop() if self._idle else _Worker()
        self._busy.add(worker)
        try:
            found = await loop.run_in_executor(self._threads, worker.call, function, argument)
        except BaseException:
            worker.kill()
            raise
        finally:
            self._busy.discard(worker)
        self._idle.append(worker)
        return found

    async def rest(self) -> None:
        """End the processes: idle ones in good order, others at once."""
        for worker in self._busy:
            worker.kill()
        idle, self._idle = self._idle, []
        if self._threads is not None:
            await asyncio.gather(*(asyncio.to_thread(worker.end) for worker in idle))
            self._threads.shutdown(wait=False)
            self._threads = None


class _Worker:
    """A process that runs one call at a time; it starts with its first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Run a function, in a thread. Raises WorkerLost if the process ends meanwhile, BackendLost if it does not start."""
        process = self._process or self._start()
        try:
            return _exchange(process, (function, argument))
        except _BROKEN:
            raise WorkerLost(f"process {process.pid} ended{_reason(process)}") from None

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _START.format(path=sys.path, module=__name__)]
        environment = credentials.environment_without_keys()
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            _exchange(self._process, (len, ()))
        except _BROKEN as error:
            raise BackendLost(f"no process for pictures can be started ({type(error).__name__})") from None
        return self._process

    def end(self) -> None:
        """Let it end, and kill it if it does not."""
        if self._process is not None:
            _close(self._process.stdin)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
            self.kill()

    def kill(self) -> None:
        """Kill it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            _close(self._process.stdin)
            _close(self._process.stdout)


_BROKEN = (OSError, EOFError, ValueError, pickle.UnpicklingError)  # ValueError: a pipe that `kill` has closed


def _exchange(process: subprocess.Popen[bytes], call: tuple[Callable[[Any], Any], Any]) -> Any:
    """Send a function of a module and its argument to a process, and return its answer. Raises one of `_BROKEN` if the process ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump(call, process.stdin)
    process.stdin.flush()
    return pickle.load(process.stdout)


def _reason(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ended, if it has."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(_GRACE)
        return f" by signal {-code}" if code < 0 else f" with exit code {code}"
    return ""


def _close(pipe: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError):  # what it still had to write cannot be written
        if pipe is not None:
            pipe.close()


def serve() -> None:
    """Run the calls that come on standard input, until it ends; what a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            function, argument = pickle.load(sys.stdin.buffer)
            pickle.dump(function(argument), answers)
            answers.flush()
