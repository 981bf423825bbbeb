"""Module names of earlier versions still import."""

import importlib
import subprocess
import sys

import pytest

from imagegen_magic import old_modules, request


@pytest.mark.parametrize(("old", "new"), old_modules.MOVED.items())
def test_an_old_name_forwards_to_the_new_module(old: str, new: str) -> None:
    """It warns, and gives the very same objects."""
    sys.modules.pop(f"imagegen_magic.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"imagegen_magic.{old} is now imagegen_magic.{new}"):
        before = importlib.import_module(f"imagegen_magic.{old}")
    after = importlib.import_module(f"imagegen_magic.{new}")
    for name in (name for name in vars(after) if not name.startswith("__")):
        assert getattr(before, name) is getattr(after, name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = before.nonsense


def test_a_module_that_never_was_is_not_found() -> None:
    """The finder answers for the names of its table alone."""
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("imagegen_magic.studies.nonsense")


def test_the_old_name_of_a_local_image() -> None:
    """Plug-ins and pickles may hold it."""
    with pytest.warns(DeprecationWarning, match=r"imagegen_magic.request: LocalPicture is now LocalImage"):
        assert request.LocalPicture is request.LocalImage


def test_the_import_statement_of_a_plugin() -> None:
    """`from package import name`, `import package.module as m`, in a process of their own, as plug-ins write them."""
    code = (
        "from imagegen_magic.providers.evolink import EvoLink\nfrom imagegen_magic.providers import answers\n"
        "import imagegen_magic.providers.options as o\nprint(EvoLink.name, answers.__name__, o.__name__)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["evolink", "imagegen_magic.providers.answers", "imagegen_magic.providers.options"]
