"""What many large pictures cost on their way to the disk: memory above the idle process, and time beside the network and two decoders.

    python benchmarks/downloads.py [--pictures 1000]

Each picture is a grainy PNG of 17 MiB from a server process on this machine, with a preview, as a cell asks for it. It is removed as
soon as it is reported, so that a small disk is enough. Beside it: the same bytes fetched by eight threads and thrown away, and the same
previews on two threads from memory, alone and both at once. Goal: at most 300 MiB above idle, at the speed of the slower of the two.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

GOAL_MIB = 300.0
GOAL_RATIO = 1.25
SIZE = (2560, 2320)  # px; grain makes 17 MiB of them
OF_A_TASK = 4


def a_large_png() -> bytes:
    """Return a PNG of grain."""
    from PIL import Image

    memory = io.BytesIO()
    Image.frombytes("RGB", SIZE, os.urandom(SIZE[0] * SIZE[1] * 3)).save(memory, "PNG", compress_level=1)
    return memory.getvalue()


def serve(path: str, ports: Any) -> None:
    """Be a gateway of APIMart's dialect, whose every picture is the file's bytes."""
    content = Path(path).read_bytes()
    tasks = iter(range(10**9))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(content)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("generations"):
                data: list[dict[str, Any]] = [{"status": "submitted", "task_id": f"task-{next(tasks)}"}]
            else:
                data = [self._done(name) for name in asked["task_ids"]]
            self._answer(json.dumps({"code": 200, "data": data}).encode())

        def _done(self, name: str) -> dict[str, Any]:
            urls = [f"http://{self.headers['Host']}/files/{name}/{number}.png" for number in range(OF_A_TASK)]
            return {"id": name, "status": "completed", "result": {"images": [{"url": [url]} for url in urls]}}

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ports.put(server.server_address[1])
    server.serve_forever()


def memory(name: str) -> float:
    """Return this process's VmRSS or VmHWM in MiB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def over_the_network(port: int, pictures: int) -> None:
    """Fetch so many pictures in eight threads and throw them away."""

    def fetch(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/files/x.png")
        answer = connection.getresponse()
        while answer.read(2**18):
            pass
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fetch, range(pictures)))


def decoded(content: bytes, pictures: int) -> None:
    """Verify so many pictures and make their previews, two at a time."""
    from imagegen_magic.imaging.verify import verify

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: verify(content, preview_edge=1024), range(pictures)))


def ours(pictures: int) -> int:
    """Ask for so many pictures as a cell does, remove each as it comes, and return how many came."""
    from imagegen_magic.engine import api, loop
    from imagegen_magic.request import ImageRequest
    from imagegen_magic.result import GeneratedImage

    async def main() -> int:
        job = api.start(ImageRequest("grain", size="1:1", n=pictures), provider="apimart", preview=1024)
        came = 0
        async for event in job.events():
            if isinstance(event, GeneratedImage):
                event.path.unlink()
                came += 1
        await job.result()
        return came

    return loop.run(main())


def main() -> int:
    """Print the figures; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    pictures = parser.parse_args().pictures // OF_A_TASK * OF_A_TASK
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "grain.png")
        writing = multiprocessing.Process(target=lambda: file.write_bytes(a_large_png()))
        writing.start()
        writing.join()
        size = file.stat().st_size
        ports: Any = multiprocessing.Queue()
        server = multiprocessing.Process(target=serve, args=(str(file), ports), daemon=True)
        server.start()
        port = ports.get()
        os.environ |= {"APIMART_BASE_URL": f"http://127.0.0.1:{port}", "APIMART_API_KEY": "k", "IMAGEGEN_POLL_SECONDS": "0.5"}
        os.environ |= {"IMAGEGEN_HOME": folder + "/home", "IMAGEGEN_SAVE_DIR": folder + "/imagegen", "IMAGEGEN_TIMEOUT": "100000"}
        os.chdir(folder)
        if ours(OF_A_TASK) != OF_A_TASK:  # everything is imported, and every pool is there
            raise RuntimeError("the pictures did not come")
        idle = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        seconds = timed(lambda: ours(pictures))
        peak = memory("VmHWM") - idle
        few = max(8, pictures // 4)
        content = file.read_bytes()
        network = timed(lambda: over_the_network(port, few)) * pictures / few
        decoders = timed(lambda: decoded(content, few)) * pictures / few
        with ThreadPoolExecutor(2) as beside:  # on the same cores at the same time, as in earnest
            both = [beside.submit(over_the_network, port, few), beside.submit(decoded, content, few)]
            slower = timed(lambda: [each.result() for each in both]) * pictures / few
        server.terminate()
    print(f"{pictures} pictures of {size / 2**20:.1f} MiB: {peak:.0f} MiB above idle, {seconds:.1f} s ({pictures / seconds:.1f} a second)")
    print(f"network alone {network:.1f} s, two decoders alone {decoders:.1f} s, both at once {slower:.1f} s; ratio {seconds / slower:.2f}")
    reached = peak <= GOAL_MIB and seconds <= GOAL_RATIO * slower
    print(f"goal: at most {GOAL_MIB:.0f} MiB and {GOAL_RATIO} of both at once: {'reached' if reached else 'missed'}")
    return not reached


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    sys.exit(main())
