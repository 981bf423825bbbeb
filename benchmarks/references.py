"""What preparing a 4K reference and measuring the drift of a 4K edit cost, against plain Pillow in the same run.

Preparing, plain: open, `exif_transpose`, save as the same format; it checks no end, strips no place and bounds nothing. Drift, plain:
decode both pictures and the mask, one after the other, and take one masked histogram of the difference. Run:
`python benchmarks/references.py`
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops, ImageOps
from preview import SIZE, _status, drawn, photograph

from imagegen_magic.imaging.mask_drift import drift, heatmap
from imagegen_magic.imaging.masks import mask_box
from imagegen_magic.imaging.reference import prepare

MOST_BYTES = 50_000_000


def references() -> dict[str, bytes]:
    """Return the photographs that are prepared: two that lie on their side, one with a place, and one that is right already."""
    image = Image.open(io.BytesIO(photograph()))
    turned, placed = Image.Exif(), Image.Exif()
    turned[0x0112] = 6
    placed.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    return {
        "a JPEG to turn": saved(image, "JPEG", quality=92, exif=turned),
        "a PNG to turn": saved(image, "PNG", exif=turned),
        "a JPEG with a place": saved(image, "JPEG", quality=92, exif=placed),
        "a PNG as it is": saved(image, "PNG"),
    }


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(data: bytes) -> bytes:
    """Prepare a reference as most people would; one that is upright is only decoded, as a check."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if image.getexif().get(0x0112, 1) == 1:
            return data
        return saved(ImageOps.exif_transpose(image), str(image.format), **({"quality": 92} if image.format == "JPEG" else {}))


def ours(data: bytes) -> bytes:
    """Prepare a reference in our way."""
    return prepare(data, name="photo", max_bytes=MOST_BYTES).data


def plain_drift(before: bytes, after: bytes, mask: bytes) -> float:
    """Measure a drift as most people would: the mean alone."""
    first, second, alpha = (Image.open(io.BytesIO(data)) for data in (before, after, mask))
    channels = ImageChops.difference(first, second).histogram(alpha.getchannel("A"))
    return sum(value % 256 * count for value, count in enumerate(channels)) / sum(channels) / 255


def edit(kind: str, original: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a 4K reference, a result that kept to its mask, and that mask."""
    before = Image.open(io.BytesIO(original))
    box = (SIZE[0] // 4, SIZE[1] // 4, SIZE[0] // 2, SIZE[1] // 2)
    after = before.copy()
    after.paste("magenta", box)
    options = {"quality": 92} if kind == "JPEG" else {}
    return saved(before, kind, **options), saved(after, kind, **options), saved(mask_box(before, *box), "PNG")


def compare(name: str, baseline: Callable[[], object], own: Callable[[], object], goal: str, runs: int = 5) -> None:
    """Print the wall and CPU time of both, taken in turns, and the best wall time of ours."""
    ways = {"plain": baseline, "ours": own}
    times: dict[str, list[tuple[float, float]]] = {which: [] for which in ways}
    baseline(), own()
    for _ in range(runs):
        for which, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            times[which].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    for place, what in enumerate(("wall", "CPU")):
        middle = {which: statistics.median(each[place] for each in times[which]) for which in ways}
        best = min(each[place] for each in times["ours"])
        figures = f"plain {middle['plain']:6.0f} ms, ours {middle['ours']:6.0f} ms (best {best:.0f})"
        print(f"  {name if what == 'wall' else '':28} {what:4} {figures}: ratio {middle['ours'] / middle['plain']:.2f}   goal: {goal}")


def memory(folder: Path) -> None:
    """Print by how much the drift of one pair raises the peak of this process, its files already read."""
    before, after, mask = ((folder / name).read_bytes() for name in ("before", "after", "mask"))
    small = saved(Image.new("RGB", (64, 64)), "PNG")
    drift(small, small, small)
    start = _status("VmRSS")
    drift(before, after, mask)
    print(f"{_status('VmHWM') - start:.0f}")


def main() -> None:
    """Print all figures."""
    print("preparing a 3840 × 2160 reference")
    for name, data in references().items():
        compare(f"{name}, {len(data) / 1e6:.1f} MB", lambda data=data: plain(data), lambda data=data: ours(data), "<= 1.15")
    print("drift of a 3840 × 2160 pair")
    for what, kind, original in (("drawn", "PNG", drawn()), ("grainy", "PNG", photograph()), ("grainy", "JPEG", photograph())):
        three = edit(kind, original)
        compare(f"{what} {kind}", lambda three=three: plain_drift(*three), lambda three=three: drift(*three), "<= 300 ms")
        compare(f"{what} {kind}, heat map", lambda three=three: plain_drift(*three), lambda three=three: heatmap(*three), "-", 3)
        with tempfile.TemporaryDirectory() as folder:
            for name, data in zip(("before", "after", "mask"), three, strict=True):
                Path(folder, name).write_bytes(data)
            command = [sys.executable, __file__, "--memory", folder]
            peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        print(f"  {what} {kind}, peak memory: {peak} MiB   goal: <= 200 MiB")


if __name__ == "__main__":
    memory(Path(sys.argv[2])) if sys.argv[1:2] == ["--memory"] else main()
