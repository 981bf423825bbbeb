"""A cell that makes many pictures asks first, where somebody can answer; elsewhere it is sent, as it always was."""

from types import SimpleNamespace

import nbclient
import nbformat
import pytest
from frontend import Frontend, environment
from lab import write_notebook
from panels import LOAD, PanelDriver
from servers import sandbox_server
from shells import a_shell
from test_notebook_terminal import run as in_terminal
from test_notebook_terminal import terminal

import imagegen_magic
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.notebook.magic import confirmation
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost


@pytest.fixture(scope="module")
def gateway():
    """A gateway whose tasks take a twentieth of a second, and that has one picture for all."""
    with sandbox_server(duration=0.05, plain=True) as server:
        yield server


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, gateway):
    """A kernel that asks above two pictures."""
    more = {"IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_SIZE": "1:1", "IMAGEGEN_ASK_ABOVE_PICTURES": "2", **gateway.environ()}
    with Frontend(tmp_path_factory.mktemp("asking"), **more) as running:
        running.run(LOAD)
        running.subshell = running.open_subshell()
        yield running


def answered(kernel, code, answer):
    """Run a cell that asks, and answer it; returns the question and the cell."""
    cell = kernel.send(code)
    question = kernel.client.get_stdin_msg(timeout=30)["content"]["prompt"]
    kernel.client.input(answer)
    return question, kernel.wait(cell)


@pytest.mark.parametrize("code", ["%%imagegen -p evolink -q low -n 3\nmany {}", "%imagegen -p evolink -q low -n 3 many {}"])
def test_many_pictures_are_asked_about(kernel, gateway, code):
    """Yes makes them, anything else sends nothing, --yes does not ask; a line as well as a cell."""
    refused, agreed, meant = (f"{word} {code[:2] == '%%'}" for word in ("refused", "agreed", "meant"))
    question, cell = answered(kernel, code.format(refused), "")
    assert question == "This is 3 pictures. Make them? [y/N] "
    assert "Nothing was sent and nothing is charged" in cell.text
    assert gateway.submissions(refused) == []
    _, cell = answered(kernel, code.format(agreed), "y")
    assert (cell.status, len(cell.images)) == ("ok", 3)
    assert len(kernel.run(code.replace("-n 3", "--yes -n 3").format(meant)).images) == 3


def test_few_pictures_and_a_dry_run_are_not(kernel):
    """Nor is what is there already."""
    assert kernel.run("%%imagegen -p evolink -q low -n 2\nfew").status == "ok"
    assert kernel.run("%%imagegen -p evolink -q low -n 30 --dry-run\nfew").status == "ok"
    kernel.run("%%imagegen -p evolink -q low -n 4 --yes\nthere already")
    cell = kernel.run("%%imagegen -p evolink -q low -n 4 --reuse\nthere already")
    assert (cell.status, len(cell.images)) == ("ok", 4)


def test_a_panel_wants_a_second_press(kernel, gateway):
    """The first press says how many it would be; another choice is asked about anew."""
    kernel.run("panel = Panel(provider='evolink', quality='low', n=3)\npanel")
    panel = PanelDriver(kernel, kernel.subshell)
    panel.generate("pressed")
    kernel.until(lambda: panel.said("This is 3 pictures. Nothing was sent: press Generate again to make them."), "the question")
    panel.generate("pressed otherwise")
    panel.generate("pressed otherwise")
    kernel.until(lambda: len(panel.tiles) == 3, "the pictures")
    assert (gateway.submissions("pressed"), len(gateway.submissions("pressed otherwise"))) == ([], 1)
    kernel.run("panel.close()")


def test_a_program_sends_them(tmp_path, gateway, monkeypatch):
    """nbclient answers nothing: what it ran yesterday, it runs today."""
    settings = {"IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_SIZE": "1:1"}
    for name, value in environment(tmp_path, **settings, **gateway.environ()).items():
        monkeypatch.setenv(name, value)
    write_notebook(tmp_path / "many.ipynb", ("%load_ext imagegen_magic", "%%imagegen -p evolink -q low -n 21\nby a program"))
    notebook = nbformat.read(tmp_path / "many.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert sum(entry["json"]["n"] for entry in gateway.accepted("by a program")) == 21


def test_a_script_and_generate_send_them(gateway, monkeypatch):
    """No terminal, no question; and `generate()` never asks."""
    for name, value in {"IMAGEGEN_POLL_SECONDS": "0.05", **gateway.environ()}.items():
        monkeypatch.setenv(name, value)
    with a_shell() as shell:
        shell.run("%imagegen -p evolink -q low --size 1:1 -n 21 in a script")
        assert len(shell.variables["_imagegen"]) == 21
    monkeypatch.setattr(confirmation, "can_answer", lambda shell: pytest.fail("asked"))
    assert len(imagegen_magic.run(imagegen_magic.generate("in python", provider="evolink", quality="low", size="1:1", n=21))) == 21


def test_a_terminal_asks(tmp_path, gateway):
    """As it does before a sweep."""
    shell = terminal(tmp_path / "terminal", gateway)
    try:
        shell.expect(r"In \[1\]: ")
        in_terminal(shell, "%load_ext imagegen_magic")
        shell.sendline("%imagegen -p evolink -q low --size 1:1 -n 21 terminal")
        shell.expect(r"This is 21 pictures. Make them\? \[y/N\] ")
        shell.sendline("n")
        shell.expect(r"In \[\d+\]: ")
        assert "Nothing was sent and nothing is charged" in shell.before
        assert gateway.submissions("terminal") == []
    finally:
        shell.close(force=True)


class TestWhatIsMuch:
    """The number, the price, and the price that is counted where none is known."""

    def plan(self, price, count=1):
        """Return as much of a plan as is looked at."""
        return SimpleNamespace(price=price, count=count)

    def test_a_price_above_the_bound(self):
        """In the gateway's own unit; the sandbox costs nothing."""
        dear = self.plan(Cost(6, "USD", "estimated"))
        assert confirmation.much_of(dear, load(), sandbox=False) == "about $6.00"
        assert confirmation.much_of(dear, load(), sandbox=True) == ""
        assert confirmation.much_of(self.plan(Cost(5, "USD", "estimated")), load(), sandbox=False) == ""

    def test_an_unknown_price(self, monkeypatch):
        """It alone is no reason, else every cell of some gateways would ask; counted by the user it may be one."""
        assert confirmation.much_of(self.plan(Cost(), 4), load(), sandbox=False) == ""
        monkeypatch.setenv("IMAGEGEN_UNKNOWN_PRICE", "2")
        assert confirmation.much_of(self.plan(Cost(), 4), load(), sandbox=False) == "4 pictures of unknown price, counted as 8"

    def test_real_plans(self):
        """Twenty are not many, twenty-one are."""
        for count, words in ((20, ""), (21, "21 pictures")):
            plan = api.plan(ImageRequest("a fox", n=count), provider="gccai")
            assert confirmation.much_of(plan, load(), sandbox=False) == words

    def test_who_can_answer(self):
        """A front end that takes input, and no other."""
        assert confirmation.can_answer(SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=True)))
        assert not confirmation.can_answer(SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=False)))
        assert not confirmation.can_answer(SimpleNamespace())
