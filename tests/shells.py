"""An IPython shell in this process, with the extension loaded, for what needs no kernel."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Iterator
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class Shell:
    """A shell and what its cells showed."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    @property
    def variables(self) -> dict[str, Any]:
        """The notebook's variables."""
        return dict(self.shell.user_ns)

    @property
    def magics(self) -> Any:
        """The extension's magics."""
        return self.shell.magics_manager.registry["ImageGenMagics"]

    @property
    def context(self) -> Any:
        """What the extension's parts share."""
        return self.magics.context

    def run(self, code: str) -> Any:
        """Run a cell as a front end would; raises what it raises, and returns its value."""
        self.shell.display_pub.outputs.clear()
        result = self.shell.run_cell(code)
        result.raise_error()
        return result.result

    def shown(self, mime: str = "text/plain") -> list[str]:
        """Return what the last cell displayed, of one MIME type."""
        return [output["data"][mime] for output in self.shell.display_pub.outputs if mime in output["data"]]

    def tab(self, code: str, *, line: int | None = None) -> list[str]:
        """Return what TAB offers of ours at the end of a line of the cell (default: the last)."""
        lines = code.split("\n")
        number = len(lines) - 1 if line is None else line
        completer = self.shell.Completer
        found = completer._complete(cursor_line=number, cursor_pos=len(lines[number]), full_text=code)
        return [completion.text for completion in found.get("imagegen_magic", {"completions": []})["completions"]]


@contextlib.contextmanager
def a_shell() -> Iterator[Shell]:
    """Give a shell with the extension loaded."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}, "IPCompleter": {"use_jedi": False}}))
    shell.display_pub = CapturingDisplayPublisher()
    shell.extension_manager.load_extension("imagegen_magic")
    try:
        yield Shell(shell)
    finally:
        atexit.unregister(shell.atexit_operations)  # the shell was not begun as a program, so it cannot end as one
        InteractiveShell.clear_instance()
