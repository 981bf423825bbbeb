"""What a grid of 100 4K pictures costs: the peak of memory, and CPU time against plain Pillow pasting the same thumbnails.

Plain: open, resize (LANCZOS, reducing_gap=1.0) and paste each picture, then one JPEG; no labels, no check, no bound on bytes.
Run: `python benchmarks/grid.py`
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from imagegen_magic.imaging.sheet.grid import Axis, Sheet, grid

SIDE = 10
SIZE = (3840, 2160)
EDGE = 140
FORMS = ("preview", "png", "pdf")
CELL = 760  # px: about what 60 megapixels hold


def draw(folder: Path) -> None:
    """Write 100 pictures of 4K that compress as photographs do: four drawings under 25 names each, half PNG, half JPEG."""
    for number in range(4):
        grain = [Image.effect_noise((SIZE[0] // 2, SIZE[1] // 2), 6 + number).resize(SIZE, Image.Resampling.BICUBIC) for _ in range(3)]
        light = Image.radial_gradient("L").resize(SIZE, Image.Resampling.BICUBIC)
        image = Image.merge("RGB", [Image.blend(channel, light, share) for channel, share in zip(grain, (0.7, 0.6, 0.5), strict=True)])
        suffix = "png" if number % 2 else "jpg"
        first = folder / f"{number}.{suffix}"
        image.save(first, quality=92) if suffix == "jpg" else image.save(first, compress_level=1)
        for copy in range(number + 4, SIDE * SIDE, 4):
            os.link(first, folder / f"{copy}.{suffix}")


def sheet(folder: Path) -> Sheet:
    """Return the grid of them."""
    paths = {int(path.stem): path for path in folder.iterdir()}
    cells = {(row, column): paths[row * SIDE + column] for row in range(SIDE) for column in range(SIDE)}
    numbers = tuple(range(SIDE))
    return grid(
        cells, Axis("style", numbers, tuple(f"style {each}" for each in numbers)), Axis("seed", numbers), title="A hundred 4K pictures"
    )


def make(folder: Path, form: str) -> bytes:
    """Return the grid in one of its forms."""
    made = sheet(folder)
    return made.preview().data if form == "preview" else made.png(CELL) if form == "png" else made.pdf()


def plain(folder: Path) -> bytes:
    """Paste the same thumbnails the plain way."""
    height = EDGE * SIZE[1] // SIZE[0]
    canvas = Image.new("RGB", (EDGE * SIDE, height * SIDE), "white")
    for path in folder.iterdir():
        with Image.open(path) as image:
            number = int(path.stem)
            small = image.resize((EDGE, height), Image.Resampling.LANCZOS, reducing_gap=1.0)
            canvas.paste(small, (number % SIDE * EDGE, number // SIDE * height))
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=85)
    return file.getvalue()


def measured(folder: Path, form: str) -> None:
    """Print the peak of this process above its start in MiB, its CPU seconds, and the bytes."""
    before, start = _status("VmRSS"), time.process_time()
    made = plain(folder) if form == "plain" else make(folder, form)
    print(f"{_status('VmHWM') - before:.0f} {time.process_time() - start:.2f} {len(made)}")


def _status(name: str) -> float:
    """Return a figure of Linux's /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"100 pictures of {SIZE[0]} × {SIZE[1]}, {size:.0f} MB, half PNG, half JPEG")
        seconds: dict[str, float] = {}
        for form in ("plain", *FORMS):
            command = [sys.executable, __file__, "--measured", name, form]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            seconds[form] = float(output[1])
            goal = "" if form == "plain" else "   goal: < 500 MiB"
            print(f"  {form:8} peak {output[0]:>4} MiB{goal}; {output[1]} s of CPU; {int(output[2]) / 1e6:.2f} MB")
        print(f"  preview against plain: {seconds['preview'] / seconds['plain']:.2f} of its CPU time; its bytes: goal <= 0.30 MB")


if __name__ == "__main__":
    measured(Path(sys.argv[2]), sys.argv[3]) if sys.argv[1:2] == ["--measured"] else main()
