"""Takes the README's pictures of real cells: `scripts/screenshots [NAME…]`."""

from __future__ import annotations

import io
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import Lab, Notebook
from PIL import Image, ImageChops

WIDEST, MOST_BYTES = 1400, 245_000  # px, bytes of a picture on the README
MOVING_WIDTH, MOVING_BYTES = 1000, 395_000  # px, bytes of an animation
TYPED, RAN, ENDED = 1600, 2400, 3000  # ms that the cell is written, that it runs, and that its end is shown
RUNNING_FRAMES, PLAYED = 8, 3  # maximum number of frames while the cell runs, times that the animation plays
DENSITY = 2  # pixels per CSS pixel
MARGIN = 6  # CSS px around what is not a cell
TOP = 4  # CSS px of a cell above what it shows
ROWS = 3  # of the sweep's table
EDITING = Path(__file__).resolve().parent.parent / "notebooks" / "editing.ipynb"
LOAD = "%load_ext imagegen_magic"
FINISHED = "%%imagegen -p apimart --sandbox --size 3:2 --quality medium -n 4\nAn ancient castle beneath a starry sky"
RUNNING = "%%imagegen -p apimart --sandbox --size 3:2 --quality high -n 6 -o foxes\nA red fox asleep in fresh snow, seen from above"
SWEEP = (
    '%%imagegen --sandbox --sweep "style=oil painting|watercolour|ukiyo-e" --sweep quality=low,high -o study\n'
    "A lighthouse before a storm, {{style}}"
)
PANEL = """
from imagegen_magic import Panel
panel = Panel(sandbox=True, provider="apimart", size="16:9", quality="low", resolution="1k")
def made(*prompts):
    for prompt in prompts:
        panel.request = panel.request.__class__(prompt, size="16:9", quality="low", resolution="1k")
        panel.generate().wait()
made("A castle beneath the stars", "A red fox in the evening", "Mountains at dawn", "A city in the mist", "A sailing boat on the sea",
     "A forest lake in autumn", "A lighthouse by night", "A castle in the fog")
panel.request = panel.request.__class__("A lighthouse in a summer storm, far out at sea", size="16:9", quality="high", resolution="4k")
panel
"""


def finished(notebook: Notebook) -> bytes:
    """One finished cell of four pictures."""
    widened(notebook, 860)
    ran(notebook, FINISHED)
    return of_cell(notebook)


def running(notebook: Notebook) -> bytes:
    """A cell that waits for six pictures."""
    put(notebook, RUNNING)
    notebook.start(1)
    notebook.output_area(1).get_by_role("button", name="Cancel").wait_for()
    notebook.page.wait_for_timeout(2500)
    seen = of_cell(notebook)
    notebook.until(lambda: not notebook.busy(1), "the cell to end")
    return seen


def sweep(notebook: Notebook) -> bytes:
    """A finished sweep, its table open as far as some rows."""
    widened(notebook, 1060)
    ran(notebook, SWEEP)
    area = notebook.output_area(1)
    area.locator("summary").click()
    area.locator("tbody tr").nth(ROWS).evaluate("row => { while (row.nextSibling) row.nextSibling.remove(); row.remove() }")
    return of_cell(notebook)


def panel(notebook: Notebook) -> bytes:
    """The panel with a running job and a gallery."""
    widened(notebook, 1160)
    ran(notebook, PANEL)
    place = notebook.page.locator(".imagegen-panel")
    place.get_by_role("button", name="Generate").click()
    place.get_by_role("button", name="Cancel").wait_for()
    notebook.page.wait_for_timeout(2500)
    notebook.page.mouse.move(0, 0)
    return framed(notebook, place)


def painter(notebook: Notebook) -> bytes:
    """A mask that is being painted on the editing notebook's photograph."""
    widened(notebook, 1000)
    (photograph,) = [cell for cell in json.loads(EDITING.read_text(encoding="utf-8"))["cells"] if cell["id"] == "photo"]
    ran(notebook, "".join(photograph["source"]))
    ran(notebook, "%imagegen mask lake.jpg -o mask")
    place = notebook.page.locator(".imagegen-painter")
    stage = place.locator(".imagegen-painter-stage")
    stage.wait_for()
    box = stage.bounding_box()
    turns = [(part, step / 5) for part in (1, 0.75, 0.5, 0.25) for step in range(33)]
    marks = [(0.332 + 0.09 * part * math.sin(turn), 0.2 - 0.135 * part * math.cos(turn)) for part, turn in turns] + [(0.332, 0.39)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in marks]
    notebook.page.mouse.move(*points[0])
    notebook.page.mouse.down()
    for point in points[1:]:
        notebook.page.mouse.move(*point)
    notebook.page.mouse.up()
    notebook.page.wait_for_timeout(500)
    return framed(notebook, place)


def moving(notebook: Notebook) -> list[tuple[Image.Image, int]]:
    """The frames of a cell that is written, runs and ends with four pictures, each with its milliseconds."""
    widened(notebook, 860)
    options, prompt = FINISHED.split("\n")
    words = prompt.split()
    typed, waits = [], []
    for count in range(len(words) + 1):
        put(notebook, "\n".join([options, " ".join(words[:count])]))
        typed.append(of_page(notebook))
    notebook.start(1)
    while notebook.busy(1):
        waits.append(of_page(notebook))
    notebook.page.wait_for_timeout(500)
    waits = waits[:: -(-len(waits) // RUNNING_FRAMES)]
    frames = [*lasting(typed, TYPED), *lasting(waits, RAN), (of_page(notebook), ENDED)]
    box = notebook.page.locator(".jp-Notebook .jp-Cell").nth(1).bounding_box()
    area = [DENSITY * part for part in (box["x"], box["y"] + TOP, box["x"] + box["width"], box["y"] + box["height"])]
    return [(frame.crop(area), milliseconds) for frame, milliseconds in frames]


def lasting(frames: list[Image.Image], milliseconds: int) -> list[tuple[Image.Image, int]]:
    """Return frames that together are shown so long."""
    return [(frame, milliseconds // len(frames)) for frame in frames]


PICTURES: dict[str, Callable[[Notebook], bytes]] = {each.__name__: each for each in (finished, running, sweep, panel, painter)}


def main(folder: Path, *names: str) -> None:
    """Write `finished-light.png`, `moving-dark.webp` and so on into a folder: all of them, or those that are named."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or (*PICTURES, moving.__name__):
        for theme in ("light", "dark"):
            if name == moving.__name__:
                keep_moving(taken(moving, theme), folder / f"{name}-{theme}.webp")
            else:
                keep(taken(PICTURES[name], theme), folder / f"{name}-{theme}.png")


def taken(picture: Callable[[Notebook], Any], theme: str) -> Any:
    """Take a picture, or frames, in a JupyterLab with a ledger of its own."""
    with (
        tempfile.TemporaryDirectory() as place,
        Lab(Path(place), IMAGEGEN_HOME=f"{place}/ledger") as lab,
        lab.open(f"{theme}.ipynb", [LOAD, ""], theme=f"JupyterLab {theme.title()}", density=DENSITY) as notebook,
    ):
        notebook.run(0)
        return picture(notebook)


def put(notebook: Notebook, code: str) -> None:
    """Write code into the second cell."""
    script = "code => jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.setSource(code)"
    notebook.page.evaluate(script, code.strip("\n"))


def ran(notebook: Notebook, code: str) -> None:
    """Run code in the second cell, and let the page draw what came of it."""
    put(notebook, code)
    notebook.run(1)
    notebook.page.wait_for_timeout(500)


def widened(notebook: Notebook, width: int) -> None:
    """Make the page so many CSS pixels wide."""
    notebook.page.set_viewport_size({"width": width, "height": 1700})


def framed(notebook: Notebook, place: Any) -> bytes:
    """Return the picture of a part of the page, with a margin."""
    box = place.bounding_box()
    clip = {side: box[side] - MARGIN for side in "xy"} | {side: box[side] + 2 * MARGIN for side in ("width", "height")}
    return bytes(notebook.page.screenshot(clip=clip))


def of_cell(notebook: Notebook) -> bytes:
    """Return the second cell's picture."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "cell.png"
        notebook.picture(1, path)
        return path.read_bytes()


def of_page(notebook: Notebook) -> Image.Image:
    """Return what the page shows, while the first cell is the active one."""
    notebook.page.evaluate("() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 0 }")
    return Image.open(io.BytesIO(notebook.page.screenshot())).convert("RGB")


def keep_moving(frames: list[tuple[Image.Image, int]], path: Path) -> None:
    """Write an animated WebP, at lower quality until the README loads quickly; at its end the last frame stays."""
    pictures = [
        frame.resize((MOVING_WIDTH, round(frame.height * MOVING_WIDTH / frame.width)), Image.Resampling.LANCZOS) for frame, _ in frames
    ]
    durations = [milliseconds for _, milliseconds in frames]
    for quality in range(85, 20, -5):
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=PLAYED, quality=quality, method=6)
        if path.stat().st_size <= MOVING_BYTES:
            break
    print(path, quality, len(frames), sum(durations), path.stat().st_size)


def keep(seen: bytes, path: Path) -> None:
    """Write a picture in 256 colours, made smaller until the README loads quickly."""
    picture = Image.open(io.BytesIO(seen)).convert("RGB")
    width = min(picture.width, WIDEST)
    while True:
        small = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        painted(small).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            print(path, width, path.stat().st_size)
            return
        width -= 50


def painted(picture: Image.Image) -> Image.Image:
    """Return a picture in 256 colours: the eight most frequent stay as they are, the rest is dithered."""
    counts = picture.getcolors(picture.width * picture.height) or []
    common = [colour for _, colour in sorted(counts, reverse=True)[:8]]
    palette = [*sum(common, ()), *few(picture, 40, Image.Quantize.MAXCOVERAGE), *few(picture, 208, Image.Quantize.MEDIANCUT)]
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette)
    small = picture.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG)
    for number, colour in enumerate(common):
        apart = ImageChops.difference(picture, Image.new("RGB", picture.size, colour)).split()
        same = ImageChops.lighter(ImageChops.lighter(*apart[:2]), apart[2]).point(lambda value: 0 if value else 255)
        small.paste(number, mask=same)
    return small


def few(picture: Image.Image, count: int, method: Image.Quantize) -> list[int]:
    """Return the palette of some colours: those of thin text by their distance, those of areas by their size."""
    return picture.quantize(count, method, kmeans=2 if method == Image.Quantize.MEDIANCUT else 0).getpalette()[: 3 * count]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
