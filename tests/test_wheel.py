"""The wheel is complete: built, installed into an empty environment with the base dependencies alone, and used there."""

import email
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from frontend import environment
from PIL import Image
from readme_renderer import markdown

PROJECT = Path(__file__).resolve().parent.parent
NOT_BASE = ("jupyterlab", "notebook", "ipykernel", "nbclient", "nbconvert", "uvicorn", "keyring", "pytest", "numpy", "playwright")
SESSION = """\
%load_ext imagegen_magic
%%imagegen -p evolink --sandbox -q low --size 3:2 -o foxes
A red fox in the snow


print("pixels:", foxes[0].width, foxes[0].height, "sandbox:", foxes[0].sandbox)
%imagegen -p apimart --sandbox -s 1:1 -r 4k too large
exit
"""

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]  # packages are built and installed


def quietly(*command, **more):
    """Run a command and return its output. Raises AssertionError with its output and errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A source archive, and the wheel that is built from it and nothing else."""
    folder = tmp_path_factory.mktemp("dist")
    quietly(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, PROJECT)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    """The wheel."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    """The names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an environment that was empty before the wheel was installed."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--no-compile", "--disable-pip-version-check", wheel]
    quietly(*install)
    return python


def metadata(wheel):
    """Return the wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_licence_and_python_are_declared(wheel, names):
    """The metadata declares BSD-3-Clause and Python 3.11, and the licence's text is in the wheel."""
    declared = metadata(wheel)
    assert (declared["Name"], declared["License-Expression"], declared["Requires-Python"]) == ("imagegen-magic", "BSD-3-Clause", ">=3.11")
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in names if name.endswith("LICENSE")]
        assert "BSD 3-Clause" in archive.read(name).decode()


def test_the_description_shows_on_an_index(wheel):
    """Rendered as PyPI does, the page has the README's sentences, no relative address, and no picture without alternative text."""
    text = metadata(wheel).get_payload(decode=True).decode()
    page = markdown.render(text)
    assert page
    assert re.findall(r'(?:src|href)="(?!https:|#)[^"]*"', page) == []
    assert re.findall(r'<img(?![^>]*alt="[^"]+")[^>]*>', page) == []
    assert "never to a real service" in page
    assert "An ancient castle beneath a starry sky" in re.sub(r"<[^>]+>", "", page)
    assert "scripts/quickstart" in page


def test_package_is_complete_and_alone(names):
    """The package's files and the marker of types are inside; tests, notebooks, benchmarks and caches are not."""
    inside = {name for name in names if ".dist-info/" not in name}
    files = {str(path.relative_to(PROJECT)) for path in (PROJECT / "imagegen_magic").rglob("*") if path.is_file()}
    assert inside == {name for name in files if "__pycache__" not in name}
    assert "imagegen_magic/py.typed" in inside
    assert not [name for name in inside if name.endswith(".ipynb") or "/test" in name]


def test_source_archive_is_named_alike(built, wheel):
    """The source archive has the wheel's version."""
    (archive,) = built.glob("*.tar.gz")
    assert archive.name == f"imagegen_magic-{metadata(wheel)['Version']}.tar.gz"


def test_empty_environment_has_the_base_alone(python):
    """Nothing of the extras comes along, and what is declared is consistent."""
    listed = json.loads(quietly(sys.executable, "-m", "pip", "--python", python, "list", "--format", "json", "--disable-pip-version-check"))
    names = {package["name"].lower() for package in listed}
    assert "imagegen-magic" in {name.replace("_", "-") for name in names}
    assert names & set(NOT_BASE) == set()
    quietly(sys.executable, "-m", "pip", "--python", python, "check", "--disable-pip-version-check")


def test_every_module_can_be_imported(python, names, tmp_path):
    """No module needs more than the base dependencies; the sandbox as a server names what it lacks."""
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names if name.endswith(".py")]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(sys.modules['imagegen_magic'].__file__)"
    output = quietly(python, "-c", code, *modules, cwd=tmp_path, env=_environment(tmp_path))
    assert Path(output.strip()).is_relative_to(python.parent.parent)
    server = subprocess.run(
        [python, "-m", "imagegen_magic.sandbox"], cwd=tmp_path, env=_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert server.returncode == 1
    assert "pip install 'imagegen-magic[sandbox]'" in server.stderr


def test_cell_in_plain_ipython(python, tmp_path):
    """`%load_ext` and a cell on the sandbox work in plain IPython, and a refusal is one line."""
    command = [python, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor"]
    output = quietly(*command, input=SESSION, cwd=tmp_path, env=_environment(tmp_path))
    assert "pixels: 1536 1024 sandbox: True" in output
    assert "UnsupportedOption: apimart gpt-image-2-official has no resolution '4k' at 1:1" in output
    assert "Traceback" not in output
    (path,) = (tmp_path / "imagegen").glob("red-fox-snow-*.png")
    with Image.open(path) as picture:
        picture.load()
        assert picture.size == (1536, 1024)
    assert re.search(rf"imagegen/{path.name}", output)


def _environment(folder):
    """Return an environment that leads neither to this folder's sources nor to another environment."""
    kept = environment(folder)
    return {name: value for name, value in kept.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")} | {"PATH": os.defpath}


def test_the_front_ends_are_in_it(names):
    """Each widget's script and style sheet are in the wheel, beside its module."""
    inside = {Path(name).name for name in names if name.startswith("imagegen_magic/notebook/widgets/")}
    assert inside == {file.name for file in (PROJECT / "imagegen_magic" / "notebook" / "widgets").iterdir() if file.is_file()}
    assert inside >= {f"{name}.{kind}" for name in ("ratio_picker", "gallery", "compare") for kind in ("py", "js", "css")}
