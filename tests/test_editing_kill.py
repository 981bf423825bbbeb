"""A real kernel that is killed in the middle of an edit: a new one collects the picture and still tells what became of its mask."""

import sqlite3
import time

from frontend import Frontend
from PIL import Image, ImageDraw
from servers import sandbox_server

from imagegen_magic import mask_box

SIZE = (1024, 640)
EDIT = "%%imagegen -p gccai --size 1024x640 -q low --output-format png --ref scene.png --mask middle.png"
DIE_BEFORE_SAVING = """
import os
from imagegen_magic.engine.storage import images as files
files.save = lambda *_, **__: os.kill(os.getpid(), 9)
"""


def _pictures(folder):
    """Put a picture and a mask of its middle into a folder."""
    image = Image.linear_gradient("L").resize(SIZE).convert("RGB")
    ImageDraw.Draw(image).ellipse((200, 150, 500, 450), fill=(200, 90, 40))
    image.save(folder / "scene.png")
    mask_box(image, 300, 200, 700, 500).save(folder / "middle.png")


def test_a_killed_edit_is_looked_at_when_it_is_resumed(tmp_path):
    """The share is computed from the copies, kept and told, though the person's files are gone; nothing is paid or uploaded twice."""
    with (
        sandbox_server(duration=0.05) as server,
        Frontend(tmp_path / "nb", IMAGEGEN_POLL_SECONDS="0.1", **server.environ("gccai")) as kernel,
    ):
        _pictures(kernel.folder)
        assert kernel.run("%load_ext imagegen_magic").status == "ok"
        kernel.run(DIE_BEFORE_SAVING)
        kernel.send(f"{EDIT}\nkilled in between [[fault: mask-ignored]]")
        deadline = time.monotonic() + 60
        while kernel.manager.is_alive():
            assert time.monotonic() < deadline, "waited for the kernel's death"
            time.sleep(0.02)
        for name in ("scene.png", "middle.png"):
            (kernel.folder / name).unlink()
        kernel.restart()
        kernel.run("%load_ext imagegen_magic")
        cell = kernel.run("%imagegen resume")
        assert cell.status == "ok", cell.text
        assert "the gateway changed 100 % of what the mask protects" in cell.text
        shown = kernel.run("%imagegen drift 1")
        assert len(shown.images) == 1
        assert "imagegen-slider" in "".join(shown.of("text/html"))
        share, mean = _kept(kernel)
        assert share > 0.9
        assert 0 < mean < 1
        assert (len(server.submissions()), server.log()["uploads"]) == (1, 2)


def _kept(kernel):
    """Return the figures that the ledger holds."""
    book = sqlite3.connect(kernel.folder / "imagegen-home" / "ledger.sqlite")
    try:
        ((share, mean),) = book.execute("SELECT share, mean FROM drifts").fetchall()
    finally:
        book.close()
    return share, mean
