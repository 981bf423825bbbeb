"""The package's version and the name that it is installed by, which pyproject.toml repeats."""

__version__ = "0.8.0"
INSTALL_NAME = "imagegen-magic"
UPDATE = f"pip install -U {INSTALL_NAME}"


def install_extra(extra: str) -> str:
    """Return the command that installs this package with an extra."""
    return f"pip install '{INSTALL_NAME}[{extra}]'"
