"""The panel as an application: Voilà shows it without a notebook around it, and a picture comes."""

import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from frontend import environment
from lab import _ARGUMENTS, _free_port, chromium, write_notebook
from playwright.sync_api import sync_playwright

PATIENCE = 60.0  # seconds; a bound for broken code, not a measure of good code


@pytest.fixture
def address(tmp_path):
    """Voilà with a notebook of one panel."""
    write_notebook(tmp_path / "panel.ipynb", ["from imagegen_magic import Panel\nPanel(sandbox=True, prompt='A fox in an application')"])
    port = _free_port()
    command = [sys.executable, "-m", "voila", "panel.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    with (tmp_path / "voila.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/voila/static/", server)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(20)


def wait_for(url, server):
    """Wait until somebody answers."""
    deadline = time.monotonic() + PATIENCE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and server.poll() is None:
        try:
            opener.open(url, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except (ConnectionError, urllib.error.URLError):
            time.sleep(0.1)
            continue
        return
    raise RuntimeError("Voilà did not start")


def test_panel_in_voila(address):
    """The panel stands alone, generates a picture, and the contact sheet behind it is not to be seen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(playwright), headless=True, args=_ARGUMENTS.split())
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.get_by_label("Prompt").wait_for()
        page.get_by_role("button", name="Generate").click()
        page.locator(".imagegen-gallery-card").first.wait_for()
        assert page.locator(".imagegen-panel").count() == 1
        assert not page.locator(".imagegen-sheet").first.is_visible()
        assert faults == []
        browser.close()
