"""File names where the file system's encoding is not UTF-8, as under `LC_ALL=C`: pictures are saved, found again and collected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import a_png
from webserver import evolink_gateway

from imagegen_magic import generate, paths, run
from imagegen_magic.engine import api
from imagegen_magic.engine.storage.filenames import filename_stem
from imagegen_magic.errors import TaskTimeout
from imagegen_magic.paths import path_of, text_of

pytestmark = pytest.mark.slow

PNG = a_png(size=(1024, 1024))
ONE = {"provider": "evolink", "size": "1024x1024"}
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def plainly(script, folder, *arguments, **environment):
    """Run a script in a process whose encodings are ASCII, and return what it printed, as bytes."""
    lines = ["import sys", "assert sys.getfilesystemencoding() == 'ascii'", "assert sys.stdout.encoding.lower() == 'ascii'"]
    command = [sys.executable, "-c", "\n".join([*lines, textwrap.dedent(script)]), *arguments]
    environment = {**os.environ, **PLAIN, **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def names(folder):
    """Return the names of a folder, as UTF-8 text."""
    return sorted(os.fsencode(name).decode() for name in os.listdir(folder))


# names


@pytest.mark.parametrize(
    ("encoding", "prompt", "name", "expected"),
    [
        ("ascii", "一座城堡，在星空下", None, "picture-7f3a"),
        ("ascii", "一座 castle 在 sky", None, "castle-sky-7f3a"),
        ("ascii", "Café ｆｏｘ, naïve", None, "cafe-fox-naive-7f3a"),
        ("ascii", "a fox", "狐狸_1", "1-7f3a"),
        ("ascii", "a fox", "狐狸", "picture-7f3a"),
        ("ascii", "нет", "ñandú_x", "nandu_x-7f3a"),
        ("iso8859-1", "café 狐狸", None, "café-7f3a"),
        ("utf-8", "café 狐狸", None, "café-狐狸-7f3a"),
    ],
)
def test_a_name_has_only_what_the_file_system_carries(monkeypatch, encoding, prompt, name, expected):
    """Letters that it has stay, accents go where it has none, and nothing is better than half a name."""
    monkeypatch.setattr(paths.sys, "getfilesystemencoding", lambda: encoding)
    assert filename_stem(prompt, "7f3a", name) == expected
    filename_stem(prompt, "7f3a", name).encode(encoding)


@given(text=st.text(max_size=60))
def test_text_of_a_path_is_text_and_leads_back(text):
    """For every name there can be; SQLite and JSON can hold it."""
    text = text.replace("\0", "").replace("\\udc", "")
    try:
        path = Path(text)
        os.fsencode(path)
    except UnicodeEncodeError:
        return
    text_of(path).encode()
    assert path_of(text_of(path)) == path


@given(raw=st.binary(min_size=1, max_size=40))
def test_bytes_that_are_no_utf8_lead_back_too(raw):
    """As in a folder that was named on another system."""
    path = Path(os.fsdecode(raw.replace(b"\0", b"").replace(b"\\", b"") or b"x"))
    assert path_of(text_of(path)) == path


def test_a_name_that_looks_like_such_bytes_is_taken_as_it_is_where_it_is_there(own_world):
    """Whoever has a folder of that name means it."""
    odd = own_world / "caf\\udce9"
    assert path_of(odd) == own_world / "caf\udce9"
    odd.mkdir()
    assert path_of(odd) == odd


# a process whose encodings are ASCII


@pytest.mark.slow
def test_a_chinese_prompt_folder_name_and_reference(own_world):
    """Saved, with its sidecar in UTF-8, in the folder that a person sees; printed without a crash."""
    folder = own_world / "图"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[tool.imagegen]\nsave_dir = "画/星空"\nsandbox = true\nquality = "low"\n', encoding="utf-8")
    (folder / "狐狸.png").write_bytes(PNG)
    script = """
        from imagegen_magic import export, generate, run
        fox = run(generate("\\u4e00\\u5ea7\\u57ce\\u5821", provider="evolink", references=["\\u72d0\\u72f8.png"]))
        named = run(generate("\\u4e00\\u5ea7 castle", name="\\u72d0\\u72f8", provider="evolink"))
        print(fox, fox[0].path, fox[0].path.exists())
        fox.contact_sheet("\\u56fe.png")
        print(export([*fox, *named], "\\u51fa"))
    """
    printed = plainly(script, folder).decode()
    assert f"{folder}/画/星空/picture-" in printed
    assert "True" in printed
    assert {"出", "图.png", "画", "狐狸.png"} <= set(names(folder))
    saved = sorted((folder / "画" / "星空").glob("*.json"))
    assert len(saved) == 2
    assert {json.loads(sidecar.read_text(encoding="utf-8"))["prompt"] for sidecar in saved} == {"一座城堡", "一座 castle"}
    assert all(name.isascii() for name in names(folder / "出" / "pictures"))


CELLS = """
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance()
    shell.run_cell("%load_ext imagegen_magic")
    cells = ["%%imagegen --sandbox -s 1:1 -q low -o fox\\n\\u4e00\\u5ea7\\u57ce\\u5821", "%imagegen history", "%imagegen config"]
    cells += ["%imagegen --help", "fox", "fox[0]", "%imagegen export \\u51fa fox", "%imagegen doctor"]
    cells += ["%imagegen --dry-run --sandbox \\u57ce"]
    for cell in cells:
        done = shell.run_cell(cell)
        print("FAILED" if done.error_in_exec or done.error_before_exec else "DONE", done.error_in_exec)
    print("FAILED", shell.run_cell("%%imagegen --sandbox --quality \\u661f\\nfox").error_in_exec)
"""


@pytest.mark.slow
def test_cells_of_a_terminal(own_world):
    """What the terminal cannot show is escaped; a cell fails over no letter, and an error is one line."""
    printed = plainly(CELLS, own_world).decode()
    assert printed.count("DONE") == 9
    assert printed.count("FAILED") == 1
    assert "UnsupportedOption" in printed
    assert "UnicodeEncodeError" not in printed
    assert "imagegen/picture-" in printed


# what another process left waiting


class Endpoint:
    """EvoLink's dialect; `finished` says whether the picture is made."""

    finished, submissions, origin = False, 0, ""

    def __call__(self, seen):
        """Answer a request."""
        if seen.path.endswith(".png"):
            return 200, {}, PNG
        if seen.path.startswith("/v1/images"):
            self.submissions += 1
            return 200, {}, b'{"id": "task-1", "status": "pending"}'
        status = "completed" if self.finished else "processing"
        return 200, {}, f'{{"data": [{{"id": "task-1", "status": "{status}", "results": ["{self.origin}/p.png"]}}]}}'.encode()


@pytest.fixture
def gateway(monkeypatch):
    """The far end of the wire."""
    with evolink_gateway(Endpoint(), monkeypatch) as answers:
        yield answers


RESUME = """
    from imagegen_magic.engine import api as generation
    (image,) = generation.resume().wait()
    print(image.path)
"""


@pytest.mark.parametrize("name", [None, "狐狸"])
def test_resume_where_the_encoding_is_another(own_world, gateway, name):
    """Asked for in UTF-8, collected in ASCII, into the very same folder; and it is known to be there afterwards."""
    folder = own_world / "图"
    with pytest.raises(TaskTimeout):
        run(generate("一座城堡", save_dir=folder, name=name, timeout=0.3, **ONE))
    gateway.finished = True
    printed = plainly(RESUME, own_world).decode()
    (saved,) = folder.glob("*.png")
    assert printed.strip() == str(saved)
    assert saved.name.startswith("picture-")
    assert len(run(generate("一座城堡", save_dir=folder, name=name, reuse=True, **ONE))) == 1
    assert gateway.submissions == 1


def test_resume_of_what_was_asked_for_in_ascii(own_world, gateway):
    """The other way round: no second folder appears."""
    (own_world / "图").mkdir()
    script = """
        from imagegen_magic import generate, run
        try:
            run(generate("\\u4e00\\u5ea7", provider="evolink", size="1024x1024", timeout=0.3))
        except TimeoutError:
            print("left")
    """
    assert plainly(script, own_world / "图") == b"left\n"
    gateway.finished = True
    (image,) = api.resume().wait()
    assert image.path.parent == own_world / "图" / "imagegen"
    assert names(own_world) == ["图"]


def test_a_folder_whose_name_is_no_utf8(own_world, gateway):
    """Pictures come into it, not into another one whose name describes its bytes."""
    folder = own_world / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(TaskTimeout):
        run(generate("fox", save_dir=folder, timeout=0.3, **ONE))
    gateway.finished = True
    (image,) = api.resume().wait()
    assert image.path.parent == folder
    assert os.listdir(os.fsencode(own_world)) == [b"caf\xe9"]
    (again,) = run(generate("fox", save_dir=folder, reuse=True, **ONE))
    assert (again.path, again.reused, gateway.submissions) == (image.path, True, 1)
    again._repr_mimebundle_()[0]["text/plain"].encode()
