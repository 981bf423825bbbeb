"""Runs other people's clients, each in a process of its own, against a server of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run_client(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script with the arguments and return the JSON object that it prints; what it writes to standard error is in the failure.

    It sees no proxy and no key of this process.
    """
    hidden = ("_PROXY", "_API_KEY", "_API_TOKEN", "_BASE_URL")
    environment = {name: value for name, value in os.environ.items() if not name.upper().endswith(hidden)}
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=150, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed
