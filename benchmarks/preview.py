"""What a verified preview of a 4K picture costs, against the fastest plain Pillow way in the same run.

Plain: decode, resize (LANCZOS, reducing_gap=1.0), JPEG at quality 85; it checks nothing and bounds nothing. Ours sees
cut and corrupt files, detects alpha, and keeps to 150 kB. Run: `python benchmarks/preview.py`
"""

from __future__ import annotations

import asyncio
import io
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from imagegen_magic.imaging.verify import verify
from imagegen_magic.sandbox.drawing import encoded, paint

EDGE = 1024
SIZE = (3840, 2160)


def drawn() -> bytes:
    """Return a 4K PNG with smooth areas, as drawings have."""
    image = paint("an ancient castle beneath a starry sky", seed=0, width=SIZE[0], height=SIZE[1], quality="high")
    return encoded(image, "image/png", None)


def photograph(mode: str = "RGB") -> bytes:
    """Return a 4K PNG that compresses as a photograph does: it takes three times as long to decode as a drawing."""
    grain = [Image.effect_noise((SIZE[0] // 2, SIZE[1] // 2), 8).resize(SIZE, Image.Resampling.BICUBIC) for _ in range(3)]
    light = Image.radial_gradient("L").resize(SIZE, Image.Resampling.BICUBIC)
    image = Image.merge("RGB", [Image.blend(channel, light, share) for channel, share in zip(grain, (0.7, 0.6, 0.5), strict=True)])
    if mode == "RGBA":
        image.putalpha(light)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def plain(data: bytes) -> bytes:
    """Make a preview the fastest plain way."""
    with Image.open(io.BytesIO(data)) as image:
        scale = EDGE / max(image.size)
        small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS, reducing_gap=1.0)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def ours(data: bytes) -> bytes:
    """Verify and make a preview in our way."""
    small = verify(data, preview_edge=EDGE)[1]
    assert small is not None
    return small.data


def compare(data: bytes, runs: int = 20) -> None:
    """Print wall and CPU time of both, taken in turns."""
    walls: dict[str, list[float]] = {"plain": [], "ours": []}
    cpus: dict[str, list[float]] = {"plain": [], "ours": []}
    plain(data), ours(data)
    for _ in range(runs):
        for name, way in (("plain", plain), ("ours", ours)):
            wall, cpu = time.perf_counter(), time.thread_time()
            way(data)
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.thread_time() - cpu)
    for what, times in (("wall", walls), ("CPU", cpus)):
        middle = {name: statistics.median(values) for name, values in times.items()}
        ratio = middle["ours"] / middle["plain"]
        print(f"  {what:4} plain {middle['plain'] * 1e3:6.1f} ms, ours {middle['ours'] * 1e3:6.1f} ms: ratio {ratio:.2f}   goal: <= 1.15")


async def beside(data: bytes, count: int = 24) -> None:
    """Print pictures a second on two threads, and how late the event loop's timers are meanwhile."""
    late: list[float] = []
    done = asyncio.Event()

    async def ticks() -> None:
        while not done.is_set():
            due = time.perf_counter() + 0.002
            await asyncio.sleep(0.002)
            late.append(time.perf_counter() - due)

    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        list(pool.map(plain, [data] * count))
        rate_plain = count / (time.perf_counter() - start)
    ticking = asyncio.create_task(ticks())
    start = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(ours, data) for _ in range(count)))
    rate = count / (time.perf_counter() - start)
    done.set()
    await ticking
    late.sort()
    middle, p99 = late[len(late) // 2] * 1e3, late[int(len(late) * 0.99)] * 1e3
    print(f"  two at a time: ours {rate:.1f} pictures a second   goal: >= 15; plain {rate_plain:.1f}")
    print(f"  the loop beside it: p50 {middle:.1f} ms, p99 {p99:.1f} ms late   goal: below 20 ms")


def memory(path: Path) -> None:
    """Print by how much one picture raises the peak of this process, its file already read."""
    data = path.read_bytes()
    warm = io.BytesIO()
    Image.new("RGBA", (64, 64), (1, 2, 3, 4)).save(warm, "PNG")
    ours(warm.getvalue())
    before = _status("VmRSS")
    ours(data)
    print(f"{_status('VmHWM') - before:.0f}")


def _status(name: str) -> float:
    """Return a figure of Linux's /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def main() -> None:
    """Print all figures."""
    for name, data, timed in (("drawn RGB", drawn(), True), ("grainy RGB", photograph(), True), ("grainy RGBA", photograph("RGBA"), False)):
        print(f"a {name} PNG, 3840 × 2160, of {len(data) / 1e6:.1f} MB -> preview of {len(ours(data)) / 1e3:.0f} kB   goal: <= 150 kB")
        if timed:
            compare(data)
            asyncio.run(beside(data))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture.png")
            path.write_bytes(data)
            peak = subprocess.run(
                [sys.executable, __file__, "--memory", str(path)], capture_output=True, text=True, check=True
            ).stdout.strip()
        print(f"  peak memory of one: {peak} MiB   goal: <= 45 MiB")


if __name__ == "__main__":
    memory(Path(sys.argv[2])) if sys.argv[1:2] == ["--memory"] else main()
