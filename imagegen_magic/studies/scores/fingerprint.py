"""The fingerprint of a scorer's code: comments and blank lines do not change it, everything that it computes with does."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from types import CodeType
from typing import Any

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.secret_patterns import redact

_SIMPLE = (str, bytes, int, float, complex, bool, type(None))


def of(function: Callable[..., Any], name: str, version: str, packages: Iterable[str]) -> str:
    """Return the fingerprint of a scorer, 32 hexadecimal digits.

    Of a `version`, or else of the code, its defaults, and the constants of its closure and globals; and of the `packages`. Lists, dicts
    and the code of helper functions are not part of it: a new `version` is. Raises UnsupportedOption if the code cannot be read and there
    is no version.
    """
    parts = [name, *(f"{package} {_version(package)}" for package in packages)]
    if version:
        parts.append(f"version {version}")
    else:
        parts += [_tree(function, name), *sorted(_values(inspect.unwrap(function)))]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def source_of(function: Callable[..., Any]) -> str:
    """Return the text of a function's code without anything that looks like a key; empty if it cannot be read."""
    try:
        return redact(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return ""


def _tree(function: Callable[..., Any], name: str) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        what = f"The code of the scorer {name} cannot be read, so a change of it would not be noticed"
        raise UnsupportedOption(what, option="version", value="", hint='name its version: @scorer(version="1")') from None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.decorator_list = []
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _values(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the simple values that a function uses: of its defaults, its closure and its globals."""
    code = getattr(function, "__code__", None)
    if code is None:
        return
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    yield from (f"default {number} {value!r}" for number, value in enumerate(defaults) if _is_simple(value))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        if _is_simple(value):
            yield f"closure {name} {value!r}"
    names = set(_names(code))
    for name, value in function.__globals__.items():
        if name in names and not name.startswith("__") and _is_simple(value):
            yield f"global {name} {value!r}"


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_simple(value: object) -> bool:
    """Return whether a value is constant: a list or dict may be changed by the function itself."""
    if isinstance(value, tuple | frozenset):
        return all(map(_is_simple, value))
    return type(value) in _SIMPLE


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
