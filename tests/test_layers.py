"""Who may import whom, and what the package shows: a rule that matters is a test."""

import ast
import tomllib
from pathlib import Path

import pytest

import imagegen_magic

ROOT = Path(imagegen_magic.__file__).parent
WORDS = {
    "deprecated",
    "humanize",
    "formats",
    "secret_patterns",
    "records",
    "errors",
    "paths",
    "readers",
    "request",
    "result",
    "notebook_folder",
}
MAY_IMPORT = {
    "_version": set(),
    "deprecated": set(),
    "old_modules": set(),
    "humanize": set(),
    "secret_patterns": set(),
    "formats": set(),
    "paths": set(),
    "notebook_folder": set(),
    "readers": set(),
    "records": {"secret_patterns"},
    "errors": {"secret_patterns", "records"},
    "request": {"secret_patterns", "records", "errors"},
    "result": {"secret_patterns", "records", "errors", "paths", "request", "imaging"},  # a picture shows itself; imported when it does
    "imaging": WORDS,
    "providers": WORDS,
    "engine": WORDS | {"providers", "imaging", "_version"},
    "studies": WORDS | {"providers", "imaging", "engine"},
    "notebook": WORDS | {"providers", "imaging", "engine", "studies", "__init__"},
    "sandbox": WORDS | {"providers"},
    "__init__": WORDS | {"_version", "old_modules", "imaging", "engine", "studies", "notebook"},
}
MODULES = sorted(ROOT.rglob("*.py"))


def _layer(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path):
    """Return every imported module's dotted name, with what is taken from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from () if node.module == "imagegen_magic" else (node.module,)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _layers_imported(path):
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "imagegen_magic":
            yield "__init__" if len(parts) == 1 or parts[1] == "__version__" else parts[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_layer_imports_only_the_layers_below(path):
    """errors, request, result <- providers <- engine <- studies <- notebook <- __init__."""
    layer = _layer(path)
    allowed = MAY_IMPORT[layer] | {layer}
    if path.name == "client.py" and layer == "engine":
        allowed = allowed | {"sandbox"}
    known = set(MAY_IMPORT)
    assert {one for one in _layers_imported(path) if one in known} <= allowed | ({"__init__"} if layer == "__init__" else set())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_outer_libraries_stay_in_their_rooms(path):
    """HTTP in four modules of the engine, ipywidgets and IPython in notebook, Pillow in imaging and sandbox, starlette in the sandbox."""
    where = str(path.relative_to(ROOT))
    roots = {name.split(".")[0] for name in _imports(path)}
    if where not in ("engine/net/client.py", "engine/net/lane.py", "engine/net/proxies.py", "engine/net/wire.py"):
        assert not roots & {"h11", "httpcore", "httpx"}
    if _layer(path) != "sandbox":
        assert not roots & {"starlette", "uvicorn"}
    if _layer(path) not in ("notebook", "__init__"):
        assert not roots & {"IPython", "ipywidgets", "traitlets", "ipykernel"}
    if _layer(path) == "providers":
        assert not roots & {"asyncio", "socket", "time", "sqlite3", "urllib3", "os", "PIL"}


def test_gateways_do_not_import_one_another():
    """A gateway's file is read alone; gccai is apimart's dialect with its own models."""
    gateways = {"apimart", "gccai", "evolink", "xingchao"}
    for path in (ROOT / "providers" / "gateways").glob("*.py"):
        others = {name.split(".")[3] for name in _imports(path) if name.startswith("imagegen_magic.providers.gateways.")}
        if path.stem in gateways:
            assert others & gateways - {path.stem} <= ({"apimart"} if path.stem == "gccai" else set())


def test_every_module_and_public_name_says_what_it_is():
    """Docstrings on every module, public class and public function."""
    silent = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        nodes = [tree, *(node for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)))]
        silent += [
            f"{path.relative_to(ROOT)}: {getattr(node, 'name', 'module')}"
            for node in [*tree.body, tree]
            if node in nodes and not getattr(node, "name", "").startswith("_") and not ast.get_docstring(node)
        ]
    assert silent == []


def test_the_public_names_are_there():
    """What the front page promises can be imported, and nothing else pretends to be public."""
    for name in imagegen_magic.__all__:
        assert getattr(imagegen_magic, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = imagegen_magic.nonsense


def test_the_version_is_said_once_in_two_places():
    """pyproject.toml and the package agree."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    assert project["version"] == imagegen_magic.__version__
