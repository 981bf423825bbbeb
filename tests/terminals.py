"""IPython in a pseudo terminal."""

import sys

import pexpect
from frontend import environment


def terminal(folder, gateway):
    """Start IPython in a terminal of 100 columns, with its prompts plain."""
    folder.mkdir()
    more = {"TERM": "dumb", "COLUMNS": "100", "IMAGEGEN_POLL_SECONDS": "0.1", **gateway.environ()}
    command = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"]
    return pexpect.spawn(
        sys.executable, command, cwd=str(folder), env=environment(folder, **more), encoding="utf-8", timeout=120, dimensions=(40, 100)
    )


def enter(shell, line):
    """Enter a line and return what was written until the next prompt."""
    shell.sendline(line)
    shell.expect(r"In \[\d+\]: ")
    return shell.before
