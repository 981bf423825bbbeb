"""All SQL is in engine/ledger, which knows no jobs and no HTTP."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import imagegen_magic

ROOT = Path(imagegen_magic.__file__).parent
LEDGER = ROOT / "engine" / "ledger"
MAY_IMPORT = {"clock", "ledger"}  # of the engine
STATEMENT = re.compile(r"(SELECT\b.+\bFROM|INSERT\b.*\bINTO|UPDATE\b.+\bSET|DELETE\s+FROM|CREATE\s+\w+|PRAGMA)\b", re.DOTALL)


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield the literal texts of a module, those of an f-string with a space for each value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield " ".join(str(each.value) for each in node.values if isinstance(each, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_sql_stands_in_the_ledger_only(path: Path) -> None:
    """No other module imports sqlite3 or has a statement."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.parent != LEDGER:
        assert [text for text in _texts(tree) if STATEMENT.match(text.strip())] == []
        assert "sqlite3" not in {name.split(".")[0] for name in _imports(tree)}


@pytest.mark.parametrize("path", sorted(LEDGER.glob("*.py")), ids=lambda path: path.name)
def test_the_ledger_knows_no_jobs(path: Path) -> None:
    """Of the engine it imports only itself and the clock; no studies, no notebook, no HTTP."""
    for name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        assert parts[0] not in ("httpx", "httpx2", "httpcore", "h11")
        if parts[:2] == ["imagegen_magic", "engine"]:
            assert parts[2] in MAY_IMPORT
        elif parts[0] == "imagegen_magic":
            assert parts[1] not in ("studies", "notebook", "imaging", "sandbox")
