"""docs/ARCHITECTURE.md names only what exists, and every package of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import imagegen_magic

PACKAGE = Path(imagegen_magic.__file__).parent
PROJECT = PACKAGE.parent
TEXT = (PROJECT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
PATHS = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", TEXT))


def _path(name: str) -> Path:
    return (PROJECT if name.startswith("tests/") else PACKAGE) / name


def test_every_path_exists() -> None:
    """Files and folders, of the package and of the tests."""
    assert [name for name in sorted(PATHS) if not _path(name).exists()] == []


def test_every_package_is_named() -> None:
    """The table of the tree has each package with code, but for those that a parent's row describes."""
    packages = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE}
    described = {name for name in packages if name.startswith("studies/") and name != "studies/"}
    assert packages - described - PATHS == set()


def test_every_attribute_named_for_a_gateway_exists() -> None:
    """What the page tells an author to write is what a gateway has."""
    from imagegen_magic.providers import model
    from imagegen_magic.providers.base import Provider

    names = ("name", "title", "base_url", "key_variable", "models", "field_names", "polling")
    assert all(f"`{name}`" in TEXT and name in Provider.__annotations__ for name in names)
    further = ("key_header", "synchronous", "read_event", "read_result", "cancel_call", "models_call", "schema_call")
    assert all(f"`{name}`" in TEXT and hasattr(Provider, name) for name in further)
    assert set(model.VALUE_LISTS.values()) <= set(model.Model.__annotations__)
