"""What the account has: asked for on request alone, in the gateway's own unit."""

from decimal import Decimal

import pytest
from servers import sandbox_server
from shells import a_shell

from imagegen_magic import generate, run
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import APIError, AuthenticationError, UnsupportedOption
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Balance
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest


@pytest.fixture(scope="module")
def server():
    """One gateway process."""
    with sandbox_server(duration=0, plain=True) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """Every gateway is the server."""
    server.be_every_gateway(monkeypatch)
    return server


@pytest.mark.parametrize(("provider", "unit"), [("apimart", "USD"), ("evolink", "credits")])
def test_it_falls_by_what_was_made(provider, unit):
    """By the same amount as the ledger's cost."""
    before = run(api.balance(provider))
    made = run(generate("paid for", provider=provider, size="1:1", quality="low"))
    after = run(api.balance(provider))
    assert (before.unit, after.unit) == (unit, unit)
    assert before.remaining - after.remaining == made[0].cost.amount


@pytest.mark.parametrize("provider", ["gccai", "xingchao"])
def test_a_gateway_that_does_not_say(provider):
    """One line, with where to look."""
    with pytest.raises(UnsupportedOption, match="does not report what the account has"):
        run(api.balance(provider))


def test_a_wrong_key(server, monkeypatch):
    """The gateway's own refusal."""
    server.be_every_gateway(monkeypatch, key="bad-key-000000")
    with pytest.raises(AuthenticationError):
        run(api.balance("evolink"))


@pytest.mark.parametrize(
    ("provider", "answer", "balance"),
    [
        ("apimart", {"success": True, "remain_balance": -1, "used_balance": 3}, Balance(None, "USD", Decimal(3))),
        ("apimart", {"success": True, "remain_balance": 12.5, "unlimited_quota": True}, Balance(None, "USD")),
        ("apimart", {"success": True, "data": {"remain_balance": "12.50"}}, Balance(Decimal("12.50"), "USD")),
        ("evolink", {"data": {"user": {"remaining_credits": 7.25}}}, Balance(Decimal("7.25"), "credits")),
    ],
)
def test_answers(provider, answer, balance):
    """-1 is unlimited."""
    assert get_provider(provider).read_balance(answer) == balance


@pytest.mark.parametrize("answer", [{"success": False, "message": "no such token"}, {}, "<html>", {"data": {"user": None}}, []])
@pytest.mark.parametrize("provider", ["apimart", "evolink"])
def test_what_is_no_balance(provider, answer):
    """A failure in a 200, or anything else."""
    with pytest.raises(APIError):
        get_provider(provider).read_balance(answer)


def test_the_subcommand(server, capsys):
    """One line; words that do not fit stay a prompt."""
    with a_shell() as shell:
        shell.run("%imagegen balance evolink")
        assert "evolink: " in capsys.readouterr().out
        shell.run("%imagegen balance of a scale")
    assert len(server.accepted("balance of a scale")) == 1


@pytest.mark.parametrize(
    ("balance", "text"),
    [
        (Balance(Decimal("12.5"), "USD"), "$12.50"),
        (Balance(None, "USD", Decimal(3)), "unlimited, $3.00 used"),
        (Balance(Decimal("7.25"), "credits", Decimal(2)), "7.25 credits, 2 credits used"),
    ],
)
def test_its_text(balance, text):
    """In the gateway's own unit."""
    assert str(balance) == text


class TestPanel:
    """The panel's line shows it on request."""

    @pytest.mark.parametrize("provider", registry.all_providers(), ids=lambda provider: provider.name)
    def test_where_it_is_offered(self, provider, monkeypatch):
        """At a gateway that reports it and has a key, and not in the sandbox."""
        monkeypatch.setenv(provider.key_variable, "a-key-of-a-service")
        state = PanelState(load(), ImageRequest("a fox"), provider.name, None)
        assert state.reports_balance == (provider.name in ("apimart", "evolink"))
        state.choose("sandbox", True)
        assert not state.reports_balance
        state.choose("sandbox", False)
        monkeypatch.delenv(provider.key_variable)
        assert not state.reports_balance

    def test_it_is_shown_until_a_request_starts(self, server):
        """Nothing is asked before, and it belongs to the gateway that reported it."""
        state = PanelState(load(), ImageRequest("from the panel", size="1:1", quality="low"), "evolink", None)
        before = server.log()["balances"]
        assert state.balance == ""
        run(state.ask_balance())
        assert server.log()["balances"] == before + 1
        assert state.balance == str(run(api.balance("evolink")))
        assert state.balance.endswith(" credits used")
        state.choose("provider", "apimart")
        assert state.balance == ""
        state.choose("provider", "evolink")
        assert state.balance
        state.start(load().folder).wait()
        assert state.balance == ""
