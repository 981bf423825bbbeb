"""How long `text_is` reads a picture, and how much memory that takes, against plain Pillow decoding and scaling the same file.

Drawn signs of 1024 and 4096 pixels. One is right at the first scale, the other is misspelt and is read at both. The models load once; the
memory is that of the whole process at its peak. Goals: 4096 pixels below 3 s and 600 MB. Run: `python benchmarks/text_is.py`; it needs the
extra `scores`.
"""

from __future__ import annotations

import io
import resource
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

from PIL import Image, ImageDraw, ImageFont

from imagegen_magic.studies.scores.text import text_is

ROUNDS = 5
EXPECTED = "OPEN TODAY"


def sign(words: str, edge: int) -> bytes:
    """Return a PNG with a sign."""
    picture = Image.new("RGB", (edge, edge), (90, 130, 170))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((edge * 0.08, edge * 0.3, edge * 0.92, edge * 0.7), fill=(245, 240, 225))
    pen.multiline_text((edge / 2, edge / 2), words, font=ImageFont.load_default(edge // 9), fill=(30, 25, 20), anchor="mm", align="center")
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def seconds(work: Callable[[], object]) -> float:
    """Return the median time of a call, in seconds."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def memory() -> float:
    """Return the peak memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the time of each picture, its ratio to Pillow's, and the memory."""
    measure = text_is(EXPECTED).function
    begun, started = memory(), time.perf_counter()
    blank = Image.new("RGB", (64, 64), "white")
    measure(SimpleNamespace(open=lambda: blank))
    print(f"import and models: {time.perf_counter() - started:.1f} s, {begun:.0f} to {memory():.0f} MB")
    for edge in (1024, 4096):
        for words in ("OPEN\nTODAY", "OPEN\nTODYA"):
            data = sign(words, edge)
            picture = SimpleNamespace(open=lambda data=data: Image.open(io.BytesIO(data)))
            found = measure(picture)
            read = seconds(lambda picture=picture: measure(picture))
            plain = seconds(lambda picture=picture: picture.open().convert("RGB").resize((736, 736)))
            ratio = f"{read / plain:.0f} times Pillow's {plain:.3f} s"
            print(f"{edge} px, {words!r}: share {found['']:.2f}, {read:.2f} s, {ratio}; peak {memory():.0f} MB")


if __name__ == "__main__":
    main()
