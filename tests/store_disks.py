"""Stores for tests that need no server: a folder of this machine as a store of objects, and stores that cannot do what is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

ADDRESS = "disk://bucket/foxes"


class Disk(LocalFileSystem):
    """Objects as files below the folder in `$DISK_STORE`, created exclusively; every call is noted in `calls`.

    While the folder has a file `down`, it takes nothing with `lost` in its name.
    """

    protocol = "disk"
    calls: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        root = os.environ["DISK_STORE"]
        return str(path) if str(path).startswith(root) else f"{root}/{str(path).removeprefix('disk://')}".rstrip("/")

    def pipe_file(self, path: Any, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        """Create or replace an object in one step."""
        self.calls.append(f"put {os.path.basename(path)}")
        target = Path(self._strip_protocol(path))
        if "lost" in target.name and Path(os.environ["DISK_STORE"], "down").exists():
            raise TimeoutError("no answer")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
        part.write_bytes(value)
        try:
            os.link(part, target) if mode == "create" else os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def info(self, path: Any, **options: Any) -> dict[str, Any]:
        """Return what is known of an object."""
        self.calls.append(f"info {os.path.basename(path)}")
        return dict(super().info(path, **options))

    def ls(self, path: Any, detail: bool = False, **options: Any) -> Any:
        """Return the objects of a folder."""
        self.calls.append(f"list {os.path.basename(path)}")
        found = [super(Disk, self).info(each.path) for each in os.scandir(self._strip_protocol(path))]
        return found if detail else [each["name"] for each in found]


class Overwriting(MemoryFileSystem):
    """A store that takes no notice of `mode`."""

    protocol = "overwriting"

    def pipe_file(self, path: Any, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        """Replace an object."""
        super().pipe_file(path, value)


class Looking(LocalFileSystem):
    """A store with fsspec's own creation, which looks first and writes then."""

    protocol = "looking"


class Down(MemoryFileSystem):
    """A store that does not answer, in words that hold a signed address and a key."""

    protocol = "down"

    def _fail(self, *arguments: Any, **options: Any) -> Any:
        raise TimeoutError("no answer from https://bucket.example/fox.png?X-Amz-Signature=f00 for AKIAABCDEFGHIJKLMNOP")

    pipe_file = cat_file = info = ls = rm_file = _fail


def register() -> None:
    """Make these stores known to fsspec."""
    for each in (Disk, Overwriting, Looking, Down):
        fsspec.register_implementation(each.protocol, each, clobber=True)
