"""`%imagegen slim` makes a notebook's outputs small, changes nothing else, and never leaves half a file."""

import base64
import io
import json
import os
import stat

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from IPython.core.error import UsageError
from PIL import Image
from shells import a_shell

from imagegen_magic.errors import SaveError, UnsupportedOption
from imagegen_magic.notebook.commands.slim import LIMIT, Slimmed, slim

pytestmark = pytest.mark.slow

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def noise(kind="PNG", size=(600, 500), mode="RGB", seed=1):
    """Return a picture that no compression makes small."""
    bands = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    if mode == "RGBA":
        pixels[: size[1] // 2, :, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind, **({"quality": 98} if kind == "JPEG" else {}))
    assert len(file.getvalue()) > LIMIT
    return file.getvalue()


def text_of(data):
    """Return bytes as a notebook carries them."""
    return base64.b64encode(data).decode()


def display(data, metadata=None):
    """Return an output of a cell."""
    return {"data": data, "metadata": metadata or {}, "output_type": "display_data"}


def notebook(*outputs, metadata=None, source=("%%imagegen -p evolink\n", "狐狸 🦊")):
    """Return a notebook of one cell, by default one of ours, with these outputs."""
    cell = {
        "cell_type": "code",
        "execution_count": 1,
        "id": "a",
        "metadata": {},
        "outputs": list(outputs),
        "source": source,
    }
    words = {"cell_type": "markdown", "id": "b", "metadata": {}, "source": ["data:image/png;base64," + "A" * 300_000]}
    return {
        "cells": [cell, words],
        "metadata": metadata or {"kernelspec": {"display_name": "Python 3", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write(path, content, indent=1, ascii=False, end="\n"):
    """Write a notebook as front ends do."""
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii) + end, encoding="utf-8")
    return path


@pytest.fixture
def file(own_world):
    """Where the notebook is."""
    return own_world / "work.ipynb"


def outputs(path):
    """Return the outputs of a file's first cell."""
    return json.loads(path.read_text(encoding="utf-8"))["cells"][0]["outputs"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_a_large_picture_becomes_a_preview(file, kind, mime):
    """At most 1024 pixels and 150 kB, in the same output, with its size on the page."""
    big = text_of(noise(kind, (1600, 900)))
    write(file, notebook(display({mime: big, "text/plain": "a fox"}, {mime: {"width": 640, "height": 360}})))
    before = file.stat().st_size
    done = slim(file)
    (output,) = outputs(file)
    assert done == Slimmed(before, file.stat().st_size, 1, 0)
    assert list(output["data"]) == ["image/jpeg", "text/plain"]
    small = base64.b64decode(output["data"]["image/jpeg"])
    assert len(small) <= LIMIT
    assert max(Image.open(io.BytesIO(small)).size) <= 1024
    assert output["metadata"] == {"image/jpeg": {"width": 640, "height": 360}}
    nbformat.validate(nbformat.read(file, 4))


def test_transparency_stays(file):
    """A picture with an alpha channel stays a PNG with one."""
    write(file, notebook(display({"image/png": text_of(noise(mode="RGBA"))})))
    slim(file)
    small = Image.open(io.BytesIO(base64.b64decode(outputs(file)[0]["data"]["image/png"]))).convert("RGBA")
    assert small.getpixel((5, 5))[3] == 0


def test_small_pictures_and_other_outputs_stay_as_they_are(file):
    """Only what is too large is touched: not a small picture, text, JSON, SVG, a GIF, a broken picture, nor a markdown cell."""
    tiny = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(tiny, "PNG")
    kept = [
        display({"image/png": text_of(tiny.getvalue()) + "\n"}),
        display({"image/png": "A" * 400_000, "application/json": {"a": [1.5, None]}}),
        display({"image/gif": "R0lG" * 100_000, "image/svg+xml": ["<svg>\n", "</svg>"]}),
        {"name": "stdout", "output_type": "stream", "text": ["x" * 300_000]},
    ]
    content = notebook(*kept, display({"image/png": text_of(noise())}))
    write(file, content)
    assert slim(file).pictures == 1
    after = json.loads(file.read_text(encoding="utf-8"))
    assert after["cells"][0]["outputs"][:4] == kept
    assert after["cells"][1] == content["cells"][1]
    assert {**after, "cells": 0} == {**content, "cells": 0}


@pytest.mark.parametrize("whole", [True, False])
def test_pictures_within_html_become_small_too(file, whole):
    """A data address of a large picture in a table is replaced, and the rest of the HTML stays."""
    html = f'<p>fox &amp; owl</p>\n<img alt="a fox" src="data:image/png;base64,{text_of(noise())}">\n<b>end</b>'
    write(file, notebook(display({"text/html": html if whole else html.splitlines(keepends=True)})))
    assert slim(file).pictures == 1
    after = outputs(file)[0]["data"]["text/html"]
    text = after if whole else "".join(after)
    assert isinstance(after, str) is whole
    assert text.startswith('<p>fox &amp; owl</p>\n<img alt="a fox" src="data:image/jpeg;base64,')
    assert text.endswith('">\n<b>end</b>')
    assert len(text) < 4 * LIMIT / 3 + 200


@pytest.mark.parametrize("indent", [1, 2, 4, None, "\t"])
@pytest.mark.parametrize("ascii", [True, False])
@pytest.mark.parametrize("end", ["\n", ""])
def test_the_way_it_is_written_stays(file, indent, ascii, end):
    """Indent, escapes and the last line break are the front end's: only the lines of pictures differ."""
    write(file, notebook(display({"image/png": text_of(noise())})), indent, ascii, end)
    before = file.read_text(encoding="utf-8")
    slim(file)
    after = file.read_text(encoding="utf-8")
    if indent is None:
        assert after.partition('"image/')[0] == before.partition('"image/')[0]
        assert after.rpartition('"output_type"')[2] == before.rpartition('"output_type"')[2]
    else:
        unlike = [pair for pair in zip(before.split("\n"), after.split("\n"), strict=True) if pair[0] != pair[1]]
        assert len(unlike) == 1


def test_windows_line_ends_and_a_byte_order_mark_are_read(file):
    """A notebook that another system wrote is a notebook."""
    text = json.dumps(notebook(display({"image/png": text_of(noise())})), indent=1, ensure_ascii=False)
    file.write_bytes(("\ufeff" + text + "\n").replace("\n", "\r\n").encode())
    assert slim(file).pictures == 1
    assert b'\r\n "cells"' in file.read_bytes()
    assert json.loads(file.read_text(encoding="utf-8"))["nbformat"] == 4


def test_nothing_too_large_writes_nothing(file):
    """The file is the very one it was: same bytes, same time, same inode. A second time there is nothing to do either."""
    write(file, notebook(display({"image/png": text_of(noise())})))
    slim(file)
    os.utime(file, (1, 1))
    before = file.stat()
    done = slim(file)
    assert done == Slimmed(before.st_size, before.st_size, 0, 0)
    assert (file.stat().st_mtime, file.stat().st_ino) == (1, before.st_ino)


def test_widgets_that_no_output_shows_go(file):
    """Saved models stay where an output shows them, directly or within another; a closed widget's go, and an empty state with them."""
    state = {
        "box": {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_button"], "layout": "IPY_MODEL_layout"}},
        "button": {"model_name": "ButtonModel", "state": {}},
        "layout": {"model_name": "LayoutModel", "state": {}},
        "closed": {"model_name": "ImageModel", "state": {"value": "x" * 1000, "layout": "IPY_MODEL_layout2"}},
        "layout2": {"model_name": "LayoutModel", "state": {}},
    }
    ids = {name: f"{number:032x}" for number, name in enumerate(state)}
    text = json.dumps(state)
    for name in sorted(ids, key=len, reverse=True):
        text = text.replace(f'IPY_MODEL_{name}"', f'IPY_MODEL_{ids[name]}"').replace(
            f'"{name}": {{"model_name', f'"{ids[name]}": {{"model_name'
        )
    saved = {
        "kernelspec": {"display_name": "Python 3", "name": "python3"},
        "widgets": {STATE: {"state": json.loads(text), "version_major": 2, "version_minor": 0}},
    }
    write(file, notebook(display({VIEW: {"model_id": ids["box"]}, "text/plain": "box"}), metadata=saved))
    assert slim(file).models == 2
    left = json.loads(file.read_text(encoding="utf-8"))["metadata"]["widgets"][STATE]
    assert set(left["state"]) == {ids["box"], ids["button"], ids["layout"]}
    assert left["version_major"] == 2
    write(file, notebook(display({"text/plain": "done"}), metadata=saved))
    assert slim(file).models == 5
    assert json.loads(file.read_text(encoding="utf-8"))["metadata"] == {"kernelspec": {"display_name": "Python 3", "name": "python3"}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a prompt", "not JSON"),
        (b"\xff\xfe\x00", "not JSON|not a notebook|text"),
        (b"[1, 2]", "not a notebook"),
        (b'{"cells": []}', "not a notebook"),
        (b'{"nbformat": 3, "worksheets": []}', "of format 3, and only format 4 .*Nothing was charged. Open it in JupyterLab and save it"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_notebook_is_refused(file, content, words):
    """In words, and it stays as it is."""
    file.write_bytes(content)
    with pytest.raises(UnsupportedOption, match=words):
        slim(file)
    assert file.read_bytes() == content


def test_a_file_that_is_not_there_is_refused(own_world):
    """So is a folder."""
    for path in (own_world / "none.ipynb", own_world):
        with pytest.raises(UnsupportedOption, match="cannot be read"):
            slim(path)


def test_a_disk_that_refuses_leaves_the_file_as_it_was(file, monkeypatch):
    """The new content takes the file's place at once or not at all, and nothing else is left beside it."""
    write(file, notebook(display({"image/png": text_of(noise())})))
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SaveError, match=r"No space left.*Nothing was charged"):
        slim(file)
    assert (file.read_bytes(), os.listdir(file.parent)) == (before, [file.name])


def test_permissions_and_links_stay(file, own_world):
    """A notebook that only its owner may read stays so, and a link stays a link."""
    write(file, notebook(display({"image/png": text_of(noise())})))
    file.chmod(0o600)
    link = own_world / "link.ipynb"
    link.symlink_to(file)
    slim(link)
    assert (stat.S_IMODE(file.stat().st_mode), link.is_symlink(), file.is_symlink()) == (0o600, True, False)
    assert outputs(file) == outputs(link)
    assert "image/jpeg" in outputs(file)[0]["data"]


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON, JSON)
@pytest.mark.slow
def test_any_odd_notebook_is_left_alone(tmp_path_factory, outputs_found, output, widgets):
    """Whatever stands where outputs and widgets should: nothing is raised and nothing is written."""
    path = tmp_path_factory.getbasetemp() / "odd.ipynb"
    cells = [{"outputs": outputs_found}, {"outputs": [output, {"data": output}, {"data": {"image/png": output}}]}, output]
    content = {"cells": cells, "metadata": {"widgets": widgets}, "nbformat": 4}
    path.write_text(json.dumps(content), encoding="utf-8")
    before = path.read_bytes()
    slim(path)
    assert path.read_bytes() == before


def test_the_magic_shows_both_sizes(file):
    """The sizes before and after, what was done, and to reload; then that there is nothing to do."""
    write(file, notebook(display({"image/png": text_of(noise(size=(1500, 1200)))})))
    with a_shell() as shell:
        shell.run("%imagegen slim work.ipynb")
        assert "work.ipynb: " in shell.shown()[0]
        assert "MB → " in shell.shown()[0]
        assert "1 picture reduced" in shell.shown()[0]
        assert "other tools" not in shell.shown()[0]
        assert "reload it" in shell.shown()[0]
        shell.run("%imagegen slim work.ipynb")
        assert "nothing to make smaller" in shell.shown()[0]
        with pytest.raises(UsageError, match="slim NOTEBOOK"):
            shell.run("%imagegen slim")
        with pytest.raises(UnsupportedOption, match="cannot be read"):
            shell.run("%imagegen slim other.ipynb")


def test_half_a_character_stays_and_the_file_is_utf_8(file):
    """A lone surrogate, which JSON can hold and UTF-8 cannot, is written as its escape beside text of any script."""
    odd = {"name": "stdout", "output_type": "stream", "text": ["HALF and \\ud83d, which is text"]}
    content = notebook(odd, display({"image/png": text_of(noise())}))
    text = json.dumps(content, indent=1, ensure_ascii=False).replace("HALF", "\\ud83d")
    file.write_text(text, encoding="utf-8")
    assert slim(file).pictures == 1
    after = file.read_bytes().decode("utf-8")
    assert '"\\ud83d and \\\\ud83d, which is text"' in after
    assert "狐狸 🦊" in after
    assert outputs(file)[0]["text"] == ["\ud83d and \\ud83d, which is text"]


def test_what_would_not_read_the_same_is_not_written(file, monkeypatch):
    """The new file is read before it takes the old one's place."""
    from imagegen_magic.notebook.commands import slim as slimming

    write(file, notebook(display({"image/png": text_of(noise())})))
    before = file.read_bytes()
    monkeypatch.setattr(slimming, "_written", lambda notebook, text: '{"cells": []}')
    with pytest.raises(SaveError, match="would not read as before"):
        slim(file)
    assert (file.read_bytes(), os.listdir(file.parent)) == (before, [file.name])


FIGURE = {"text/plain": "<Figure size 2000x600 with 1 Axes>"}


def test_pictures_of_others_stay_unless_everything_is_asked_for(file):
    """An image of another tool, also within HTML, has no original on disk: it is unchanged and counted."""
    figure = display({"image/png": text_of(noise()), **FIGURE}, {"image/png": {"width": 2000, "height": 600}})
    table = display({"text/html": f'<img src="data:image/png;base64,{text_of(noise(seed=2))}">', "text/plain": "<Table>"})
    write(file, notebook(figure, table, source="plt.plot(x)"))
    before = file.read_bytes()
    assert slim(file) == Slimmed(len(before), len(before), 0, 0, 2)
    assert file.read_bytes() == before
    assert slim(file, everything=True).pictures == 2
    assert "image/jpeg" in outputs(file)[0]["data"]
    assert "data:image/jpeg" in outputs(file)[1]["data"]["text/html"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("%%imagegen --sandbox\na fox", FIGURE),
        (["x = 1\n", "%imagegen a fox"], FIGURE),
        ("Panel()", FIGURE),
        ("made = await generate('a fox')\nmade[0]", {"text/plain": "/home/me/work/imagegen/a-red-fox-1a2b-1.png"}),
        ("show(made)", {"text/plain": ["a-red-fox-1a2b-1.webp, 3840×2160"]}),
        ("show(made)", {"text/plain": "a vote", "text/html": '<div class="imagegen-ranking">1.</div>'}),
    ],
)
def test_pictures_of_ours_are_known(file, source, words):
    """By the cell, by the file that a picture is named after, or by the classes of our HTML."""
    write(file, notebook(display({"image/png": text_of(noise()), **words}), source=source))
    assert slim(file).pictures == 1


def test_a_grid_of_ours_stays(file):
    """What a sweep shows may have 300 kB: no picture that this package made for a notebook loses anything."""
    for quality in range(5, 100):
        memory = io.BytesIO()
        Image.open(io.BytesIO(noise(size=(1600, 500)))).save(memory, "JPEG", quality=quality)
        if len(memory.getvalue()) > 250_000:
            break
    assert 150_000 < len(memory.getvalue()) <= 300_000
    write(file, notebook(display({"image/jpeg": text_of(memory.getvalue()), "text/plain": "a fox. Grid of 16 pictures"})))
    before = file.read_bytes()
    assert slim(file).pictures == 0
    assert file.read_bytes() == before


def test_widgets_that_are_linked_with_a_shown_one_stay(file):
    """A link is shown by nothing and holds two sliders together; a link between two that no output shows goes with them."""
    ids = {name: f"{number:032x}" for number, name in enumerate(("slider", "other", "link", "gone", "lost"))}

    def link(source, target):
        return {
            "model_name": "LinkModel",
            "state": {"source": [f"IPY_MODEL_{source}", "value"], "target": [f"IPY_MODEL_{target}", "value"]},
        }

    slider = {"model_name": "IntSliderModel", "state": {}}
    state = {ids[name]: slider for name in ("slider", "other", "gone")}
    state |= {ids["link"]: link(ids["other"], ids["slider"]), ids["lost"]: link(ids["gone"], ids["gone"])}
    saved = {"widgets": {STATE: {"state": state, "version_major": 2, "version_minor": 0}}}
    write(file, notebook(display({VIEW: {"model_id": ids["slider"]}}), metadata=saved))
    assert slim(file).models == 2
    left = json.loads(file.read_text(encoding="utf-8"))["metadata"]["widgets"][STATE]["state"]
    assert left == {ids[name]: state[ids[name]] for name in ("slider", "other", "link")}


def test_the_magic_tells_of_pictures_of_others(file):
    """How many stay, and the switch that makes them small too."""
    figures = [display({"image/png": text_of(noise(seed=seed)), **FIGURE}) for seed in (1, 2)]
    with a_shell() as shell:
        write(file, notebook(*figures, source="plt.plot(x)"))
        shell.run("%imagegen slim work.ipynb")
        assert "2 large pictures of other tools are unchanged: --all reduces them too" in shell.shown()[0]
        shell.run("%imagegen slim work.ipynb --all")
        assert "2 pictures reduced" in shell.shown()[0]
        ours = display({"image/png": text_of(noise()), "text/plain": "fox.png, 600×500"})
        write(file, notebook(ours, figures[0], source="plt.plot(x)"))
        shell.run("%imagegen slim work.ipynb")
        assert "1 picture reduced" in shell.shown()[0]
        assert "1 large picture of other tools is unchanged: --all reduces them too" in shell.shown()[0]
