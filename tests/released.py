"""What a release left behind (`tests/data/VERSION`, made by `tests/data/make.py`), laid out again for a test."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

PLACE = Path("/tmp/imagegen-released")  # where the data were made: it stands in the ledger's paths
GATEWAYS = ("evolink", "apimart", "gccai", "xingchao")
_DATA = Path(__file__).parent / "data"

SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later


@dataclass(frozen=True)
class Released:
    """The folders of a release's user: `home` with the ledger, `work` with `imagegen/`, `sources/` and a notebook; and what was asked."""

    home: Path
    work: Path
    made: dict[str, Any]

    def sandbox_tasks(self) -> int:
        """Return how many tasks the sandbox of this home has ever accepted."""
        return sum(file.read_text().count('"provider"') for file in self.home.glob("sandbox/tasks-*.jsonl"))


def unpack(version: str, folder: Path) -> Released:
    """Lay out a release's data in a folder, with the paths in the ledger as if they had been made there."""
    shutil.copytree(_unpacked(version), folder, copy_function=_copied)
    released = Released(folder / "home", folder / "work", json.loads((_DATA / version / "requests.json").read_text()))
    for file in released.home.glob("sandbox/tasks-*.jsonl"):  # the sandbox forgets after some days
        file.rename(file.with_name(time.strftime("tasks-%Y-%m-%d.jsonl", time.gmtime())))
    with closing(sqlite3.connect(released.home / "ledger.sqlite")) as connection, connection:
        for table, column in (("pictures", "path"), ("jobs", "save_dir")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(PLACE), str(folder)))
    return released


@functools.cache
def _unpacked(version: str) -> Path:
    """Return where a release's data are unpacked, once in this process."""
    folder = Path(tempfile.mkdtemp(prefix="imagegen-released-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(_DATA / version / "ledger.tar.xz") as archive:
        archive.extractall(folder, **SAFELY)
    return folder


def _copied(source: str, target: str) -> None:
    """Copy what is written to; what is only read, or replaced as a whole, is the same file."""
    (os.link if Path(source).parent.name in ("imagegen", "sources", "uploads") else shutil.copy2)(source, target)


def unpack_package(version: str, folder: Path) -> Path:
    """Lay out the package of a release in a folder, which belongs into PYTHONPATH, and return that."""
    with tarfile.open(_DATA / version / "package.tar.xz") as archive:
        archive.extractall(folder, **SAFELY)
    return folder


def python_of(package: Path, script: str, *arguments: object, home: Path, **more: str) -> subprocess.Popen[str]:
    """Start a script in a process that has a release's package, its input and output in pipes."""
    environment = {**os.environ, "PYTHONPATH": str(package), "IMAGEGEN_HOME": str(home), **more}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def days_later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Let submissions without an answer be looked at so many days after the latest of them."""
    from imagegen_magic.engine import api, loop

    latest = max(task.created for task in loop.run(api.ledger().tasks(states=("unknown",))))
    monkeypatch.setattr("imagegen_magic.engine.jobs.unanswered.CLOCK", SimpleNamespace(time=lambda: latest + days * 86_400))


def source(text: Any) -> Any:
    """Return what a stored word stands for: an array, a PIL image, bytes, or itself; its file is looked for in the working folder."""
    kind, _, path = text.partition("::")
    if kind == "array":
        return np.load(path)
    if kind == "image":
        return Image.open(path)
    return Path(path).read_bytes() if kind == "bytes" else text


def request_of(spec: dict[str, Any]) -> Any:
    """Return a stored request as ImageRequest."""
    from imagegen_magic import ImageRequest

    options = {name: value for name, value in spec.items() if name not in ("provider", "sandbox")}
    return ImageRequest(**{**options, "references": tuple(map(source, spec.get("references", ())))})
