"""How long a click on the panel takes to reach Python while ten runs go on, with and without a cell that keeps the kernel busy.

    python benchmarks/panel.py [CLICKS]

A front end on the protocol level (no page) clicks in a real kernel, by way of a subshell as JupyterLab does; both ends read the
same machine's clock. The time ends where the panel's own handler has handed the click over.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from frontend import Frontend
from panels import LOAD, PanelDriver
from servers import SandboxServer, sandbox_server

_WATCH = """
import time, json
arrived = []
panel._view.fix_button.on_click(lambda _: arrived.append(time.time()))
"""
_BUSY = "import time\nuntil = time.time() + 60\nwhile time.time() < until: time.sleep(0.001)"


def main(clicks: int = 200) -> None:
    """Print the median, the 95th percentile and the longest, in milliseconds."""
    with sandbox_server(duration=300) as server, tempfile.TemporaryDirectory() as folder, _kernel(folder, server) as kernel:
        kernel.run(LOAD)
        kernel.subshell = kernel.open_subshell()
        kernel.run("panel = Panel(provider='evolink', quality='low')\npanel")
        panel = PanelDriver(kernel, kernel.subshell)
        kernel.run(_WATCH)
        for number in range(10):
            panel.generate(f"run {number}")
        kernel.until(lambda: len(server.accepted()) == 10, "ten runs")
        button = _button(kernel)
        print(f"kernel idle, ten runs: {_measured(kernel, panel, button, clicks)}")
        cell = kernel.send(_BUSY)
        kernel.until(lambda: cell.started, "the cell")
        sent = _sent(kernel, panel, button, clicks)
        kernel.interrupt()
        kernel.wait(cell)
        print(f"cell running, ten runs: {_summary(sent, _arrived(kernel))}")


def _kernel(folder: str, server: SandboxServer) -> Frontend:
    return Frontend(Path(folder), IMAGEGEN_POLL_SECONDS="0.5", **server.environ())


def _button(kernel: Frontend) -> str:
    """Return the model of the button whose clicks are timed."""
    return str(kernel.run("print(panel._view.fix_button.model_id)").text.strip())


def _measured(kernel: Frontend, panel: PanelDriver, button: str, clicks: int) -> str:
    return _summary(_sent(kernel, panel, button, clicks), _arrived(kernel))


def _sent(kernel: Frontend, panel: PanelDriver, button: str, clicks: int) -> list[float]:
    sent = []
    for _ in range(clicks):
        sent.append(time.time())
        kernel.click(button, subshell=panel.subshell)
        kernel.pump(0.01)
        time.sleep(0.03)
    return sent


def _arrived(kernel: Frontend) -> list[float]:
    times = json.loads(kernel.run("print(json.dumps(arrived)); arrived.clear()").text)
    return [float(each) for each in times]


def _summary(sent: list[float], arrived: list[float]) -> str:
    took = sorted(1000 * (end - start) for start, end in zip(sent, arrived, strict=True))
    return f"median {statistics.median(took):.1f} ms, 95 % within {took[int(0.95 * len(took))]:.1f} ms, longest {took[-1]:.1f} ms"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
