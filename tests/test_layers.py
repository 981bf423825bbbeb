"""Which module may import which, where each library and each kind of code stands: the rules of docs/ARCHITECTURE.md.

A list of names that begins with REMAINING_ holds what does not follow a rule yet. It may only get shorter.
"""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from gateway_table import GATEWAYS

import imagegen_magic
from imagegen_magic.providers import registry

ROOT = Path(imagegen_magic.__file__).parent
PACKAGE = "imagegen_magic"

WORDS = (  # from the bottom up: each imports only those before it
    "_version",
    "deprecated",
    "humanize",
    "formats",
    "secret_patterns",
    "paths",
    "readers",
    "options",
    "notebook_folder",
    "records",
    "errors",
    "request",
    "result",
)
LAYERS = {  # a package, and the packages that it may import beside the words
    "providers": (),
    "imaging": (),
    "engine": ("providers", "imaging"),
    "studies": ("providers", "imaging", "engine"),
    "notebook": ("providers", "imaging", "engine", "studies"),
    "sandbox": ("providers",),
}
NOTEBOOK_FLOORS = (  # bottom up
    *("context", "subcommands", "output", "arguments", "progress", "widgets", "mask_editor", "panel", "commands", "magic"),
)
HTTP_MODULES = ("engine.net.transport",)
HTTP_LIBRARIES = {"httpx2", "httpcore2", "httpx", "httpcore", "h11", "anyio", "certifi"}
PILLOW_TYPES = {  # they name its class in a signature
    "result",
    "studies.sweeps.result",
    "studies.scores.builtin",
    "studies.scores.inputs",
    "studies.scores.plots",
    "studies.scores.table",
    "notebook.mask_editor",
}
SQL = re.compile(r"(SELECT\b.+\bFROM|INSERT\b.*\bINTO|UPDATE\b.+\bSET|DELETE\s+FROM|CREATE\s+\w+|PRAGMA)\b", re.DOTALL)

REMAINING_CIRCLES: list[set[str]] = []

LATE = [  # imports within functions: who may, what, and why. Milliseconds are CPU time with Python 3.11, dependencies included
    ("__init__", "notebook.magic.magics", "a script needs no notebook"),
    ("notebook.context", "engine", "%load_ext takes 3 ms and loads 12 modules; the engine takes 300 ms and loads with the first cell"),
    ("notebook.context", "errors", "as above"),
    ("notebook.magic.magics", "notebook", "the gate from the magic into the cell, as above"),
    ("notebook.magic.cell", "notebook.magic.sweep_cell", "39 ms that only a sweep needs"),
    ("notebook.magic.cell", "notebook.commands.scores", "30 ms that only a cell with scorers needs"),
    ("notebook.magic.completion", "studies.scores", "as above"),
    ("notebook.magic.completion", "studies", "as above, for effects"),
    ("notebook.arguments.confirmation", "studies", "as above"),
    ("notebook", "IPython", "parts of IPython that are not loaded in a kernel, for one feature each"),
    ("notebook.commands", "notebook.panel", "ipywidgets and anywidget take 200 ms"),
    ("notebook.commands", "notebook.widgets", "as above"),
    ("notebook.mask_editor", "notebook.widgets", "as above"),
    ("notebook.panel.references", "notebook.mask_editor", "Pillow takes 45 ms, which only a painter needs"),
    ("notebook.progress", "ipywidgets", "as above"),
    ("notebook.commands", "studies.export", "26 ms that only an export needs"),
    ("notebook.progress.run", "nest_asyncio2", "only --keep-loop needs it"),
    ("", "imaging", "Pillow takes 45 ms, and a request without references needs none before its first download"),
    ("engine", "engine.references", "26 ms that a request without references does not need"),
    ("engine", "engine.uploads", "as above"),
    ("notebook.panel", "engine.references", "as above"),
    ("engine.net", "httpx2", "200 ms that a plan, a listing and the sandbox do not need"),
    ("engine.net", "httpcore2", "as above"),
    ("engine.net", "urllib", "as above"),
    ("engine.net", "sandbox", "180 ms that only the sandbox in this process needs"),
    ("engine.settings", "tomllib", "38 ms that only a pyproject.toml needs"),
    ("engine.settings", "platformdirs", "58 ms that IMAGEGEN_HOME does not need"),
    ("engine.credentials", "keyring", "an optional package"),
    ("engine.workers.cluster", "distributed", "an optional package"),
    ("studies", "pandas", "an optional package"),
    ("studies", "matplotlib", "as above"),
    ("imaging.text.reading", "rapidocr", "as above"),
    ("engine.storage.fsspec_store", "fsspec", "an optional package"),
    ("readers", "paths", "%load_ext loads 12 modules, and only a folder of pictures needs it"),
    ("paths", "pkgutil", "only a picture in a store that is read needs it"),
    ("sandbox.__main__", "uvicorn", "an optional package"),
    ("providers.registry", "importlib", "120 ms that the search for plug-ins needs, and a built-in gateway does not"),
    ("errors", "decimal", "7 ms; loads with the extension"),
    ("result", "pkgutil", "only a picture that shows itself needs it"),
    ("records", "pickle", "25 ms that only pickling needs"),
    ("request", "unicodedata", "only a prompt that is not ASCII needs it"),
    ("request", "hashlib", "loads OpenSSL, 7 ms that a request without references does not need"),
]


class Import(NamedTuple):
    """One import of a module: the module of ours or the library that is `imported`, and whether a function imports it."""

    imported: str
    library: str
    late: bool


def _name(path: Path) -> str:
    """Return a module's name below the package; the package itself is `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[-1] != "__init__" else parts[:-1]) or "__init__"


MODULES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def broken(rule: Callable[[str], object], modules: Iterable[str] = MODULES) -> dict[str, object]:
    """Return what `rule` finds in each module, without those in which it finds nothing."""
    return {module: found for module in modules if (found := rule(module))}


@functools.cache
def tree_of(module: str) -> ast.Module:
    """Return the parsed source of a module."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _nodes(node: ast.AST, late: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yield every node, and whether it stands in a function."""
    for child in ast.iter_child_nodes(node):
        yield child, late
        yield from _nodes(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


@functools.cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Return the imports of a module; those for type checkers are included."""
    found = []
    for node, late in _nodes(tree_of(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [Import(_module_of(name), name.split(".")[0], late) for name in names]
    return tuple(found)


def _module_of(name: str) -> str:
    """Return the module of ours that a dotted name imports, "" for a library."""
    if name.split(".")[0] != PACKAGE:
        return ""
    name = name.removeprefix(PACKAGE).removeprefix(".")
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def ours(module: str) -> set[str]:
    """Return the modules of ours that a module imports."""
    return {each.imported for each in imports_of(module)} - {"", module}


def libraries(module: str) -> set[str]:
    """Return the names of the libraries that a module imports."""
    return {each.library for each in imports_of(module)} - {PACKAGE}


def is_in(module: str, package: str) -> bool:
    """Return whether a module is a package or stands in it."""
    return not package or module == package or module.startswith(f"{package}.")


def test_the_words_stand_in_their_order() -> None:
    """Each imports only those before it; a result loads imaging when it shows itself."""

    def above(module: str) -> set[str]:
        below = set(WORDS[: WORDS.index(module)])
        late = {each.imported for each in imports_of(module) if each.late} | {"imaging.preview"}  # the type of a field
        shown = {name for name in ours(module) if module == "result" and is_in(name, "imaging") and name in late}
        return ours(module) - below - shown

    assert broken(above, [name for name in WORDS if name in MODULES]) == {}


def test_every_module_is_in_a_layer() -> None:
    """A new module at the top is a word with a place in the order, or it is in a package with a layer."""
    assert {name.split(".")[0] for name in MODULES} <= {*WORDS, *LAYERS, "__init__", "old_modules"}


def test_a_layer_imports_only_the_layers_below() -> None:
    """words <- providers, imaging <- engine <- studies <- notebook; the sandbox is the engine's in-process way to a gateway."""

    def above(module: str) -> set[str]:
        layer = module.split(".")[0]
        allowed = {layer, *LAYERS[layer], *WORDS}
        allowed |= {"sandbox"} if is_in(module, "engine.net") else set()
        allowed |= {"__init__"} if layer == "notebook" else set()
        return {name.split(".")[0] for name in ours(module)} - allowed

    assert broken(above, [module for module in MODULES if module.split(".")[0] in LAYERS]) == {}


def test_a_floor_of_the_notebook_imports_only_those_below() -> None:
    """context <- output <- arguments <- progress <- widgets <- mask_editor <- panel <- commands <- magic."""

    def height(module: str) -> int:
        return NOTEBOOK_FLOORS.index(module.split(".")[1])

    def above(module: str) -> set[str]:
        return {name for name in ours(module) if is_in(name, "notebook") and height(name) > height(module)}

    assert broken(above, [name for name in MODULES if is_in(name, "notebook") and name != "notebook"]) == {}


def test_no_circle_of_imports() -> None:
    """No module imports itself through others, imports in functions and for type checkers included."""
    assert [sorted(circle) for circle in _circles() if not any(circle <= known for known in REMAINING_CIRCLES)] == []


def _circles() -> list[set[str]]:
    reached = {module: _reached(module) for module in MODULES}
    found: list[set[str]] = []
    for module in MODULES:
        circle = {other for other in reached[module] if module in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def _reached(module: str) -> set[str]:
    """Return every module that importing this one leads to."""
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = ours(ahead.pop()) - found
        found |= new
        ahead += new
    return found


def test_libraries_stay_where_they_belong() -> None:
    """HTTP in one module, SQLite in the ledger, IPython and widgets in the notebook, Pillow in imaging and the sandbox."""

    def misplaced(module: str) -> set[str]:
        out, layer = set[str](), module.split(".")[0]
        if module not in HTTP_MODULES:
            out |= HTTP_LIBRARIES
        if layer != "sandbox":
            out |= {"starlette", "uvicorn"}
        if layer not in ("notebook", "__init__"):
            out |= {"IPython", "ipywidgets", "anywidget", "traitlets", "ipykernel"}
        if layer not in ("imaging", "sandbox") and module not in PILLOW_TYPES:
            out |= {"PIL"}
        if layer == "providers":
            out |= {"asyncio", "socket", "time", "urllib3", "os"}
        if not is_in(module, "engine.ledger"):
            out |= {"sqlite3"}
        return libraries(module) & out

    assert broken(misplaced) == {}


def test_sql_stands_in_the_ledger() -> None:
    """No other module holds a statement."""

    def statements(module: str) -> list[str]:
        return [text for text in _texts(tree_of(module)) if SQL.match(text.strip())]

    assert broken(statements, [module for module in MODULES if not is_in(module, "engine.ledger")]) == {}


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield the literal texts of a module, those of an f-string with a space for each value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield " ".join(str(each.value) for each in node.values if isinstance(each, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_ledger_and_the_network_know_no_jobs() -> None:
    """Neither imports jobs, polling or uploads; of the engine the ledger imports only itself and the clock."""

    def wrong(module: str) -> set[str]:
        engine = {name for name in ours(module) if is_in(name, "engine")}
        if is_in(module, "engine.ledger"):
            return {name for name in engine if not is_in(name, "engine.ledger")} - {"engine.clock"}
        return {name for name in engine if any(is_in(name, f"engine.{part}") for part in ("jobs", "polling", "uploads"))}

    assert broken(wrong, [module for module in MODULES if is_in(module, "engine.ledger") or is_in(module, "engine.net")]) == {}


def test_imports_in_functions_have_a_reason() -> None:
    """Others stand at the top of the file."""

    def unexplained(module: str) -> set[tuple[str, str]]:
        names = {each.imported or each.library for each in imports_of(module) if each.late} - {module}
        without = {name for name in names if not any(is_in(module, who) and is_in(name, what) for who, what, _ in LATE)}
        return {(module, name) for name in without}

    assert broken(unexplained) == {}


def test_a_gateway_is_a_file_in_the_folder() -> None:
    """Each file is a gateway of its name or the models of one, and no other module of the providers names one."""
    files = {name.rpartition(".")[2] for name in MODULES if is_in(name, "providers.gateways") and name != "providers.gateways"}
    gateways = sorted(name for name in files if name.removesuffix("_models") not in files - {name})
    assert sorted(name.replace("-", "_") for name in registry._in_files()) == gateways
    for module in MODULES:
        if is_in(module, "providers") and not is_in(module, "providers.gateways"):
            assert [text for text in _texts(tree_of(module)) if text in gateways] == []


def test_a_service_fits_on_a_few_screens() -> None:
    """A service of any interface is a file of at most 130 lines; what several share, and data of models, stand beside it."""
    folder = Path(registry.__file__).parent / "gateways"
    own_interface = [each for each in folder.glob("*.py") if not each.stem.endswith("_models") and each.stem not in GATEWAYS]
    assert {each.name for each in own_interface if len(each.read_text(encoding="utf-8").splitlines()) > 130} == set()


def test_the_tests_have_one_table_of_gateways() -> None:
    """A list of all gateways stands in tests/gateway_table.py, from the registry; by hand only where a page or a release is quoted."""
    by_hand = {"provider_pages.py", "released.py", "test_provider_tables.py", "test_registry.py", "test_wire_truth.py"}
    sources = {path.name: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py") if path.name not in by_hand}
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)) if all(name in source for name in GATEWAYS) else ():
            if isinstance(node, ast.List | ast.Tuple | ast.Set):
                names = {each.value for each in node.elts if isinstance(each, ast.Constant)}
                assert not names >= set(GATEWAYS), f"{file}:{node.lineno}"


def test_gateways_do_not_import_one_another() -> None:
    """A gateway's file is read alone with its own models, except those that speak the dialect of another."""
    pairs = {(name, other) for name in MODULES if is_in(name, "providers.gateways") for other in ours(name) if other != f"{name}_models"}
    speaks = {("gccai", "apimart"), ("azure_openai", "openai"), ("azure_openai", "openai_models"), ("openai_compatible", "openai")}
    found = {tuple(name.rpartition(".")[2] for name in pair) for pair in pairs if is_in(pair[1], "providers.gateways")}
    assert found == speaks


def test_every_module_and_public_name_has_a_docstring() -> None:
    """Modules, public classes and public functions."""

    def without(module: str) -> list[str]:
        tree = tree_of(module)
        public = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
        named = [(node.name, node) for node in public if not node.name.startswith("_")]
        return [name for name, node in [("the module", tree), *named] if not ast.get_docstring(node)]  # type: ignore[list-item]

    assert broken(without) == {}


def test_the_public_names_are_there() -> None:
    """Each name of the front page can be imported, and no other is public."""
    for name in imagegen_magic.__all__:
        assert getattr(imagegen_magic, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = imagegen_magic.nonsense


def test_the_version_is_the_same_in_two_places() -> None:
    """pyproject.toml and the package agree."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    assert project["version"] == imagegen_magic.__version__
