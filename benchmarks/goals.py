"""All goals of speed, polls and memory in one run, as a table for README.md.

    python benchmarks/goals.py [--rounds 5] [--large-pool]

It takes about ten minutes and wants a quiet machine: the first line names its load before and after.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from importlib.metadata import version

import engine
import load


def main() -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large-pool", action="store_true", help="give each task of the bare script its own connection")
    given = parser.parse_args()
    rounds = given.rounds
    packages = ", ".join(f"{name} {version(name)}" for name in ("httpx2", "ipykernel", "Pillow"))
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}; {_load()} before.\n")
    engine.main(["--rounds", str(rounds), *(["--large-pool"] if given.large_pool else [])])
    load.main(["--rounds", str(3 * rounds)])
    print(f"\n{_load().capitalize()} after.")


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
