"""docs/errors.md lists every class of error with its fields, as the code has them: a program need not match text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from imagegen_magic import errors
from imagegen_magic.errors import ImageGenError

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "errors.md").read_text(encoding="utf-8")
COMMON = ("what", "blame", "charge", "hint", "retry", "rows")
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ImageGenError)]


def fields(kind: type[ImageGenError]) -> tuple[str, ...]:
    """Return the fields that a class has beyond those of its base."""
    given = [name for name, one in inspect.signature(kind.__init__).parameters.items() if one.kind is one.KEYWORD_ONLY]
    own = "__init__" in vars(kind)
    found = dict.fromkeys([*(given if own else ()), *(name for name in vars(kind).get("__annotations__", {}) if not name.startswith("_"))])
    return tuple(name for name in found if name not in (*COMMON, "detail"))


def row(kind: type[ImageGenError]) -> str:
    """Return the line of a class on the page."""
    bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
    own = ", ".join(f"`{name}`" for name in fields(kind)) or "–"
    return f"| `{kind.__name__}` | {bases} | {kind.blame} | {kind.charge} | {own} |"


def test_the_page_lists_every_class_and_no_other() -> None:
    """In the order of the code, each with its bases, its blame, its charge and its fields."""
    listed = re.findall(r"^\| `[A-Z].*\|$", PAGE, re.MULTILINE)
    assert listed == [row(kind) for kind in KINDS if kind is not ImageGenError]


@pytest.mark.parametrize("name", ["option", "value", "allowed", "fix", "providers", *COMMON, "status", "code", "request_id", "refused"])
def test_every_field_is_explained(name: str) -> None:
    """What it holds."""
    assert re.search(rf"^- `{name}`: \S", PAGE, re.MULTILINE)


def test_the_values_of_blame_and_charge_are_all() -> None:
    """As their types have them."""
    for name, values in (("blame", errors.Blame), ("charge", errors.Charge)):
        (line,) = re.findall(rf"^- `{name}`: .*(?:\n  .*)*", PAGE, re.MULTILINE)
        assert set(re.findall(r'`"(\w+)"`', line)) == set(get_args(values))


def test_the_example_runs() -> None:
    """It takes the values that the error proposes."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/errors.md", "exec"), names)
    assert names["options"] == {"provider": "evolink", "sandbox": True, "quality": "low"}
