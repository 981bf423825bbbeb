"""The first command: it runs a notebook in a real kernel, and what it prints at the end can be used as it stands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from frontend import environment

PROJECT = Path(__file__).resolve().parent.parent


def test_the_quickstart_ends_with_a_command_for_any_folder(tmp_path):
    """The script runs the notebook in a real kernel, and the places and the command that it prints at the end hold wherever one is."""
    home = tmp_path / "a folder"
    programs = home / ".venv" / "bin"
    programs.mkdir(parents=True)
    shutil.copytree(PROJECT / "scripts", home / "scripts")
    cells = [nbformat.v4.new_code_cell(code) for code in ("%load_ext imagegen_magic", "%imagegen -q low a fox")]
    (home / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home / "notebooks" / "quickstart.ipynb")
    installed = f'#!/bin/sh\ncase "$*" in *"-m pip"*) exit 0;; esac\nexec "{sys.executable}" "$@"\n'  # as if pip had been there already
    for name, text in (("python", installed), ("jupyter", '#!/bin/sh\necho "$1 $(cat "$2" | wc -c)"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    own = environment(tmp_path / "own", PYTHON=sys.executable)
    done = subprocess.run([home / "scripts" / "quickstart"], cwd="/", env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = dict(re.split(r":\s+", line, maxsplit=1) for line in done.stdout.splitlines())
    assert list(told) == ["The executed notebook", "The same as a page", "The pictures", "Open it in JupyterLab"]
    notebook, page, pictures, opening = told.values()
    assert "image/jpeg" in Path(notebook).read_text()
    assert "<html" in Path(page).read_text()
    assert len(list(Path(pictures).glob("fox-*.png"))) == 1
    opened = subprocess.run(["bash", "-c", opening], cwd="/", capture_output=True, text=True, check=True)
    assert opened.stdout.split() == ["lab", str(Path(notebook).stat().st_size)]
