"""Terminal IPython in a pseudo terminal: one line while it runs, path and caption at the end."""

import re
import sys

import pexpect
import pytest
from frontend import environment
from servers import sandbox_server

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


@pytest.fixture(scope="module")
def gateway():
    """A gateway whose tasks take a second and a half."""
    with sandbox_server(duration=1.5) as server:
        yield server


def terminal(folder, gateway):
    """Start IPython in a terminal of 100 columns, with its prompts plain."""
    folder.mkdir()
    more = {"TERM": "dumb", "COLUMNS": "100", "IMAGEGEN_POLL_SECONDS": "0.1", **gateway.environ()}
    command = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"]
    return pexpect.spawn(
        sys.executable, command, cwd=str(folder), env=environment(folder, **more), encoding="utf-8", timeout=60, dimensions=(40, 100)
    )


@pytest.fixture
def ipython(tmp_path, gateway):
    """An IPython shell at its first prompt, with the extension loaded."""
    shell = terminal(tmp_path / "terminal", gateway)
    try:
        shell.expect(r"In \[1\]: ")
        run(shell, "%load_ext imagegen_magic")
        yield shell
    finally:
        shell.close(force=True)


def run(shell, line):
    """Enter a line and return what was written until the next prompt."""
    shell.sendline(line)
    shell.expect(r"In \[\d+\]: ")
    return shell.before


def visible(text):
    """Return what is left on the screen: what a carriage return overwrote is gone."""
    lines = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return _ESCAPES.sub("", "\n".join(lines))


def test_one_line_while_it_runs_and_the_caption_at_the_end(ipython, tmp_path):
    """The line is written over and over, is gone at the end, and path and caption stand there as text."""
    written = run(ipython, "%imagegen -p evolink -q low An old fox")
    assert written.count("\r\x1b[K") + written.count("\x1b[K\r") >= 1
    assert "waiting 1 s" in written
    left = visible(written)
    assert "waiting" not in left
    (path,) = (tmp_path / "terminal" / "imagegen").glob("*.png")
    assert re.search(r"\d+×\d+ · evolink gpt-image-2 · ", left)
    assert f"imagegen/{path.name}" in left
    assert "data:" not in left


def test_line_never_wraps(ipython):
    """No version of the line is wider than the terminal."""
    written = run(ipython, "%imagegen -p xingchao -q low -n 3 An old fox")
    assert max(len(_ESCAPES.sub("", line)) for line in written.split("\r") if "waiting" in line) < 100


def test_interrupt_says_what_goes_on(ipython):
    """Ctrl-C ends the waiting with one line, and resume collects the picture."""
    ipython.sendline("%imagegen -p evolink -q low Interrupted")
    ipython.expect("waiting")
    ipython.sendintr()
    ipython.expect(r"In \[\d+\]: ")
    assert "%imagegen resume" in visible(ipython.before)
    assert "Traceback" not in ipython.before
    assert "imagegen/interrupted-" in run(ipython, "%imagegen resume")


def test_background_job_prints_its_end_above_the_prompt(ipython):
    """With --no-wait the prompt is back at once and no line is drawn into it; the caption is printed when it is there."""
    assert "waiting" not in run(ipython, "%imagegen -p evolink -q low --no-wait Behind")
    ipython.expect(r"imagegen/behind-\S+\.png")
