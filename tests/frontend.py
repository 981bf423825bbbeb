"""A front end on the protocol level: it drives a real kernel as JupyterLab does, without a page.

It queues cells as Run All does, keeps widget models from comm messages, sends clicks with and without a subshell, and
collects each cell's outputs by display id. Everything happens in the caller's thread: `pump` reads the kernel's messages.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.manager import KernelManager
from resets import OURS

PATIENCE = 120.0  # seconds; a bound for broken code, not a measure of good code


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return this process's environment without keys or settings of ours, everything kept below `folder`."""
    kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    homes = {name: str(folder / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    tests = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    own = {"IMAGEGEN_HOME": str(folder / "imagegen-home"), "PYTHONPATH": tests, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return {**kept, **homes, **own, **more}


@dataclass
class Cell:
    """One executed cell: its outputs as a notebook would hold them, and how far it is."""

    code: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] | None = None
    idle: bool = False
    started: bool = False
    clear_next: bool = False

    @property
    def done(self) -> bool:
        """Whether the kernel has answered and gone idle."""
        return self.idle and self.reply is not None

    @property
    def status(self) -> str:
        """`ok`, `error` or `aborted`; empty while it runs."""
        return str(self.reply["status"]) if self.reply else ""

    def of(self, mime: str) -> list[Any]:
        """Return what its outputs hold of one MIME type."""
        return [output["data"][mime] for output in self.outputs if mime in output.get("data", {})]

    @property
    def images(self) -> list[dict[str, Any]]:
        """Its outputs that are pictures, each as often as it has pictures."""
        found = [output for output in self.outputs if any(mime.startswith("image/") for mime in output.get("data", {}))]
        return [output for output in found for _ in range(max(1, output["data"].get("text/html", "").count("<img ")))]

    @property
    def text(self) -> str:
        """All of its text."""
        parts = [output.get("text") or output.get("data", {}).get("text/plain") or output.get("evalue", "") for output in self.outputs]
        return "\n".join(parts)


class Frontend:
    """A kernel and a front end for it; use it as a context manager."""

    def __init__(self, folder: Path, **more_environment: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = environment(folder, **more_environment)
        self._forget()

    def _forget(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.most_models = 0
        self.model_updates = 0
        self.obeys_updates = True
        self.subshell: str | None = None
        self._answers: dict[str, dict[str, Any]] = {}
        self._displays: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> Frontend:
        self.manager = KernelManager()
        self._log = (self.folder / "kernel.log").open("ab")
        # after an error ipykernel drops the queued cells that have reached it; on a busy machine some arrive a moment later
        late = ["--Kernel.stop_on_error_timeout=0.3"]
        self.manager.start_kernel(env=self.environment, cwd=str(self.folder), stderr=self._log, extra_arguments=late)
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.client.context.destroy(linger=0)
        self._log.close()

    def move(self, folder: Path, **more_environment: str) -> None:
        """Reset the kernel and let it work in another folder, as if it had been started there."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = environment(folder, **more_environment)
        self._forget()
        ours = {name: value for name, value in self.environment.items() if OURS.match(name)} | more_environment
        reset = self.run(f"import resets; resets.reset_kernel({str(folder)!r}, {ours!r})")
        assert reset.status == "ok", reset.text
        self._forget()

    @property
    def usable(self) -> bool:
        """Whether the kernel is alive and idle."""
        return self.manager.is_alive() and all(cell.done for cell in self.cells.values())

    def _connect(self) -> None:
        self.client = self.manager.client(context=zmq.Context())
        self.client.start_channels(hb=False)
        self.client.wait_for_ready(timeout=PATIENCE)

    # --- cells

    def send(self, code: str, *, stdin: bool = True, subshell: str | None = None) -> Cell:
        """Queue a cell and return at once."""
        cell = Cell(code)
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": stdin, "stop_on_error": True}
        self.cells[self._send("execute_request", content, subshell=subshell)] = cell
        return cell

    def run(self, code: str, *, stdin: bool = True) -> Cell:
        """Run a cell to its end."""
        return self.wait(self.send(code, stdin=stdin))

    def run_all(self, *codes: str) -> list[Cell]:
        """Queue several cells at once, as Run All does, and wait for the last."""
        cells = [self.send(code) for code in codes]
        self.until(lambda: all(cell.done for cell in cells), "all cells to end")
        return cells

    def wait(self, cell: Cell, patience: float = PATIENCE) -> Cell:
        """Wait for a cell's end."""
        self.until(lambda: cell.done, f"the cell to end: {cell.code[:60]!r}", patience)
        return cell

    def until(self, true: Callable[[], Any], what: str = "it", patience: float = PATIENCE) -> None:
        """Read the kernel's messages until something is true; raises TimeoutError."""
        deadline = time.monotonic() + patience
        while not true():
            if time.monotonic() > deadline:
                shown = "\n".join(cell.text[-500:] for cell in self.cells.values())
                raise TimeoutError(f"waited {patience:.0f} s for {what}; the cells show:\n{shown}")
            self.pump(0.05)

    def pump(self, seconds: float = 0.0) -> None:
        """Read the kernel's messages for about that long."""
        poller = zmq.Poller()
        channels = (self.client.iopub_channel, self.client.shell_channel, self.client.control_channel)
        for channel in channels:
            poller.register(channel.socket, zmq.POLLIN)
        poller.poll(seconds * 1000)
        for channel in channels:
            while channel.msg_ready():
                self._take(channel.get_msg(timeout=1))

    # --- widgets

    def model(self, name: str) -> str:
        """Return the id of the one open model of that class name, like `ButtonModel`."""
        found = [key for key, state in self.models.items() if state.get("_model_name") == name]
        assert len(found) == 1, f"{len(found)} models of {name}"
        return found[0]

    def states(self, name: str) -> list[dict[str, Any]]:
        """Return the states of all open models of that class name."""
        return [state for state in self.models.values() if state.get("_model_name") == name]

    def click(self, model: str, *, subshell: str | None = None) -> None:
        """Click a button; with a subshell as JupyterLab does, or without one as other front ends do."""
        data = {"method": "custom", "content": {"event": "click"}}
        self._send("comm_msg", {"comm_id": model, "data": data}, subshell=subshell)

    def set_state(self, model: str, *, subshell: str | None = None, **state: Any) -> None:
        """Change a widget's values, as typing into it does."""
        data = {"method": "update", "state": state, "buffer_paths": []}
        self._send("comm_msg", {"comm_id": model, "data": data}, subshell=subshell)

    def open_subshell(self) -> str:
        """Ask the kernel for a subshell and return its id."""
        answer = self.ask("create_subshell_request", {}, control=True)
        return str(answer["content"]["subshell_id"])

    def complete(self, code: str) -> dict[str, Any]:
        """Press TAB at the end of `code` and return the reply's content."""
        return dict(self.ask("complete_request", {"code": code, "cursor_pos": len(code)})["content"])

    def inspect(self, code: str) -> str:
        """Ask for help on `code` and return its plain text."""
        content = self.ask("inspect_request", {"code": code, "cursor_pos": len(code), "detail_level": 0})["content"]
        return str(content["data"].get("text/plain", ""))

    def ask(self, kind: str, content: Mapping[str, Any], *, control: bool = False) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        key = self._send(kind, content, control=control)
        self.until(lambda: key in self._answers, f"an answer to {kind}")
        return self._answers.pop(key)

    # --- the kernel's life

    def interrupt(self) -> None:
        """Press the stop button."""
        self.manager.interrupt_kernel()

    def kill(self) -> None:
        """Kill the kernel with SIGKILL, as the system would."""
        assert self.manager.provisioner is not None
        self.manager.signal_kernel(signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while self.manager.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)

    def restart(self) -> None:
        """Replace the kernel by a new one, whether it is dead or alive."""
        self.client.stop_channels()
        self.client.context.destroy(linger=0)
        self.manager.restart_kernel(now=True, env=self.environment, cwd=str(self.folder), stderr=self._log)
        self.models.clear()
        self._displays.clear()
        self._connect()

    # --- messages

    def _send(self, kind: str, content: Mapping[str, Any], *, subshell: str | None = None, control: bool = False) -> str:
        message = self.client.session.msg(kind, dict(content))
        if subshell:
            message["header"]["subshell_id"] = subshell
        channel = self.client.control_channel if control else self.client.shell_channel
        channel.send(message)
        return str(message["header"]["msg_id"])

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        parent = message["parent_header"].get("msg_id", "")
        cell = self.cells.get(parent)
        if kind in ("comm_open", "comm_msg", "comm_close"):
            self._take_comm(kind, content)
        elif kind == "update_display_data":
            if self.obeys_updates:
                self._update(content)
        elif kind.endswith("_reply"):
            self._answers[parent] = message
            if cell and kind == "execute_reply":
                cell.reply = content
        elif cell is not None:
            self._take_output(cell, kind, content)

    def _take_output(self, cell: Cell, kind: str, content: dict[str, Any]) -> None:
        if kind == "status":
            cell.started = True
            cell.idle = content["execution_state"] == "idle"
        elif kind == "clear_output":
            cell.clear_next = content["wait"]
            if not content["wait"]:
                cell.outputs.clear()
        elif kind in ("display_data", "execute_result", "stream", "error"):
            if cell.clear_next:
                cell.outputs.clear()
                cell.clear_next = False
            self._add(cell, kind, content)

    def _add(self, cell: Cell, kind: str, content: dict[str, Any]) -> None:
        last = cell.outputs[-1] if cell.outputs else {}
        if kind == "stream" and last.get("output_type") == "stream" and last["name"] == content["name"]:
            last["text"] += content["text"]
            return
        output = {"output_type": kind, **{key: value for key, value in content.items() if key != "transient"}}
        cell.outputs.append(output)
        if display_id := content.get("transient", {}).get("display_id"):
            self._displays.setdefault(display_id, []).append(output)

    def _update(self, content: dict[str, Any]) -> None:
        for output in self._displays.get(content["transient"]["display_id"], []):
            output["data"], output["metadata"] = content["data"], content["metadata"]

    def _take_comm(self, kind: str, content: dict[str, Any]) -> None:
        key, data = content["comm_id"], content["data"]
        if kind == "comm_open" and content["target_name"] == "jupyter.widget":
            self.models[key] = dict(data["state"])
            self.most_models = max(self.most_models, len(self.models))
        elif kind == "comm_msg" and key in self.models and data.get("method") == "update":
            self.model_updates += 1
            self.models[key].update(data["state"])
        elif kind == "comm_close":
            self.models.pop(key, None)


class Kernels:
    """Kernels that serve one test after another: a start takes a second, a reset a few hundredths of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle: list[Frontend] = []

    @contextlib.contextmanager
    def kernel(self, folder: Path, **more_environment: str) -> Iterator[Frontend]:
        """Give a kernel that works in this folder; it is kept for the next test unless the test has left it dead or busy."""
        front = self._idle.pop() if self._idle else Frontend(self._folder).__enter__()
        try:
            front.move(folder, **more_environment)
            yield front
            front.pump()
        finally:
            if front.usable:
                self._idle.append(front)
            else:
                front.__exit__()

    def close(self) -> None:
        """End the kernels that wait."""
        for front in self._idle:
            front.__exit__()
