"""A cell that makes many pictures asks first if the question can be answered; otherwise it is sent."""

from types import SimpleNamespace

import pytest
from servers import sandbox_thread
from shells import a_shell

import imagegen_magic
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.notebook.arguments import confirmation
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    """A sandbox on a socket."""
    with sandbox_thread(duration=0.05) as running:
        yield running


def test_a_script_and_generate_send_them(server, monkeypatch):
    """No terminal, no question; and `generate()` never asks."""
    server.be_every_gateway(monkeypatch)
    with a_shell() as shell:
        shell.run("%imagegen -p evolink -q low --size 1:1 -n 21 in a script")
        assert len(shell.variables["_imagegen"]) == 21
    monkeypatch.setattr(confirmation, "can_answer", lambda shell: pytest.fail("asked"))
    assert len(imagegen_magic.run(imagegen_magic.generate("in python", provider="evolink", quality="low", size="1:1", n=21))) == 21


class TestWhatIsMuch:
    """The number, the price, and the price that is counted where none is known."""

    def plan(self, price, count=1):
        """Return as much of a plan as is looked at."""
        return SimpleNamespace(price=price, count=count)

    def test_a_price_above_the_bound(self):
        """In the gateway's own unit; the sandbox costs nothing."""
        dear = self.plan(Cost(6, "USD", "estimated"))
        assert confirmation.reasons_of(dear, load(), sandbox=False) == "about $6.00"
        assert confirmation.reasons_of(dear, load(), sandbox=True) == ""
        assert confirmation.reasons_of(self.plan(Cost(5, "USD", "estimated")), load(), sandbox=False) == ""

    def test_an_unknown_price(self, monkeypatch):
        """It alone is no reason, else every cell of some gateways would ask; counted by the user it may be one."""
        assert confirmation.reasons_of(self.plan(Cost(), 4), load(), sandbox=False) == ""
        monkeypatch.setenv("IMAGEGEN_UNKNOWN_PRICE", "2")
        assert confirmation.reasons_of(self.plan(Cost(), 4), load(), sandbox=False) == "4 pictures of unknown price, counted as 8"

    def test_real_plans(self):
        """Twenty are not many, twenty-one are."""
        for count, words in ((20, ""), (21, "21 pictures")):
            plan = api.plan(ImageRequest("a fox", n=count), provider="gccai")
            assert confirmation.reasons_of(plan, load(), sandbox=False) == words

    def test_who_can_answer(self):
        """A front end that takes input, and no other."""
        assert confirmation.can_answer(SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=True)))
        assert not confirmation.can_answer(SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=False)))
        assert not confirmation.can_answer(SimpleNamespace())
