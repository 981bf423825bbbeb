"""Takes the README's pictures of real cells: `scripts/screenshots`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lab import Lab, Notebook
from PIL import Image

MOST_BYTES = 240_000
LOAD = "%load_ext imagegen_magic"
FINISHED = "%%imagegen -p evolink --sandbox --size 16:9 --quality medium\nAn ancient castle beneath a starry sky"
RUNNING = "%%imagegen -p apimart --sandbox --size 3:2 --quality high -n 6 -o foxes\nA red fox asleep in fresh snow, seen from above"


def main(folder: Path) -> None:
    """Write `finished-light.png`, `running-dark.png` and so on into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, Lab(Path(place), IMAGEGEN_HOME=f"{place}/ledger") as lab:
        for theme in ("light", "dark"):
            with lab.open(f"{theme}.ipynb", [LOAD, FINISHED, RUNNING], theme=f"JupyterLab {theme.title()}", density=2) as notebook:
                notebook.run(0)
                notebook.run(1)
                notebook.page.wait_for_timeout(500)
                take(notebook, 1, folder / f"finished-{theme}.png")
                notebook.start(2)
                notebook.output_area(2).get_by_role("button", name="Cancel").wait_for()
                notebook.page.wait_for_timeout(2500)
                take(notebook, 2, folder / f"running-{theme}.png")
                notebook.until(lambda notebook=notebook: not notebook.busy(2), "the cell to end")


def take(notebook: Notebook, cell: int, path: Path) -> None:
    """Write a cell's picture, made smaller until the README loads quickly."""
    notebook.picture(cell, path)
    with Image.open(path) as taken:
        picture = taken.convert("RGB")
    width = min(picture.width, 1400)
    while True:
        picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            print(path, path.stat().st_size)
            return
        width -= 50


if __name__ == "__main__":
    main(Path(sys.argv[1]))
