"""Spending reports by kind of cost, currency, model and day; costs are never invented, currencies never added."""

import re
import time
from decimal import Decimal

import pytest
from shells import a_shell

from imagegen_magic import generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.ledger import NewJob, NewTask
from imagegen_magic.engine.ledger.spending import SpendingGroup
from imagegen_magic.errors import ContentRejected, TaskFailed, UnsupportedOption
from imagegen_magic.result import Cost
from imagegen_magic.studies.history import spending
from imagegen_magic.studies.history.spending import Spent


def cost(amount, unit="USD", kind="measured", **more):
    """Return an amount."""
    return Cost(Decimal(str(amount)), unit, kind, **more)


def task(
    state, known=Cost(), *, price=Cost(), provider="apimart", model="m", prompt="a fox", sandbox=False, pictures=1, error=None, day=None
):
    """Put a task into the ledger as it would be left in that state."""
    asked = {"prompt": prompt}
    sent = {"method": "POST", "path": "/", "json": {}}
    job = NewJob(
        provider, provider, "https://example.org", sandbox, model, "low", "1k", asked, asked, {"tasks": 1}, price, "imagegen", None,
        [NewTask(sent, pictures, "key-0")],
    )  # fmt: skip
    ledger = api.ledger()
    ((number, (row,)),) = loop.run(ledger.add([job]))
    loop.run(ledger.set_state(row, state, cost=known, error=error))
    if day:
        moment = f"{day}T12:00:00.000+00:00"
        loop.run(ledger.run(lambda connection: connection.execute("UPDATE jobs SET created = ? WHERE id = ?", (moment, number)).rowcount))


def spent(**more):
    """Return what was spent."""
    return loop.run(spending.spent(api.ledger(), **more))


def amounts(row):
    """Return a row's measured, reserved and estimated amounts and its count of the unknown."""
    return row.measured, row.reserved, row.estimated, row.unknown


def test_nothing_was_spent_yet():
    """A new ledger has no rows, not rows of 0."""
    assert spent() == []


def test_each_kind_of_cost_is_separate():
    """Measured, calculated, reserved, estimated and unknown."""
    task("saved", cost("0.21"))
    task("made", cost("0.10"))
    task("submitted", cost("0.30", kind="reserved"))
    task("saved", cost("0.05", kind="estimated"))
    task("saved", cost("0.07", kind="calculated"))
    task("saved", Cost())
    known, unknown = spent(by="provider")
    assert amounts(known) == (Decimal("0.31"), Decimal("0.30"), Decimal("0.05"), 0)
    assert (known.unit, known.amount, known.calculated, known.tasks, known.pictures) == ("USD", Decimal("0.73"), Decimal("0.07"), 5, 5)
    assert (unknown.unit, unknown.unknown, unknown.amount) == ("", 1, 0)


def test_an_accepted_task_counts_with_its_price_until_its_cost_is_known():
    """It will be charged, so its price is an estimate. Each task counts with its share."""
    task("submitted", price=cost("0.40", kind="estimated"))
    (row,) = spent()
    assert amounts(row) == (0, 0, Decimal("0.40"), 0)


def test_what_was_never_sent_costs_nothing():
    """Planned and dropped tasks have no rows; a submission without a response has an unknown cost."""
    task("planned", price=cost(1, kind="estimated"))
    task("dropped", price=cost(1, kind="estimated"))
    assert spent() == []
    task("submitting", price=cost(1, kind="estimated"))
    assert [amounts(row) for row in spent()] == [(0, 0, 0, 1)]


def test_a_failure_is_free_only_if_its_charge_is_no():
    """A moderation refusal is free; a failed task may have been charged, and so may a submission of unknown outcome."""
    task("failed", error=ContentRejected("no"), price=cost(1, kind="estimated"))
    assert spent() == []
    task("failed", error=TaskFailed("it could not"), price=cost(1, kind="estimated"))
    task("failed", cost("0.50", kind="reserved"), error=None)
    task("unknown", price=cost(1, kind="estimated"))
    (row,) = spent()
    assert (row.unit, row.unknown, row.tasks, row.pictures) == ("", 3, 3, 0)


def test_a_partly_unknown_estimate_is_marked():
    """The amount is shown as incomplete."""
    task("saved", cost("0.05", kind="estimated", unknown=1))
    (row,) = spent()
    assert amounts(row) == (0, 0, Decimal("0.05"), 1)


def test_currencies_are_never_added():
    """Dollars and credits of one key are two rows, and adding them raises."""
    task("saved", cost("0.21"))
    task("saved", cost(50, "credits", "reserved"))
    credits, dollars = sorted(spent(by="prompt"), key=lambda row: -row.amount)
    assert (dollars.unit, dollars.amount, credits.unit, credits.amount) == ("USD", Decimal("0.21"), "credits", 50)
    assert [(row.unit, row.amount) for row in spending.totals([credits, dollars])] == [("credits", 50), ("USD", Decimal("0.21"))]
    with pytest.raises(ValueError, match="cannot be added"):
        dollars + credits


def test_play_money_is_separate():
    """The sandbox's costs are marked, come last, and can be left out."""
    run(generate("a red fox", provider="apimart", size="1:1", quality="low", sandbox=True))
    task("saved", cost("0.001"))
    real, played = spent(by="provider")
    assert (real.sandbox, played.sandbox, played.pictures) == (False, True, 1)
    assert len(spending.totals([real, played])) == 2
    assert spent(sandbox=False, by="provider") == [real]
    with pytest.raises(ValueError, match="cannot be added"):
        real + played


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("model", ["gpt-image-2 (evolink)", "gpt-image-2 (apimart)"]),
        ("provider", ["evolink", "apimart"]),
        ("prompt", ["a fox", "an owl"]),
        ("quality", ["low"]),
        ("day", ["2026-10-30", "2026-11-02"]),
        ("month", ["2026-10", "2026-11"]),
    ],
)
def test_costs_are_grouped(by, keys):
    """By model, gateway, prompt and quality, largest first; by day and month in order of time."""
    task("saved", cost("0.10"), provider="apimart", model="gpt-image-2", prompt="an owl", day="2026-11-02")
    task("saved", cost("0.90"), provider="evolink", model="gpt-image-2", prompt="a fox", day="2026-10-30")
    assert [row.key for row in spent(by=by)] == keys


def test_only_requests_since_then():
    """`7d` leaves out last month; a date is its first moment; an invalid time is refused with examples."""
    task("saved", cost("0.10"), day="2020-01-31")
    task("saved", cost("0.20"))
    assert [row.amount for row in spent(since="7d")] == [Decimal("0.20")]
    assert [row.amount for row in spent(since="2020-02-01")] == [Decimal("0.20")]
    assert [row.amount for row in spent(since="2020-01-31")] == [Decimal("0.30")]
    assert spent(since=time.time() + 60) == []
    with pytest.raises(UnsupportedOption, match=r"since yesterday is not a time.*7d"):
        spent(since="yesterday")
    with pytest.raises(UnsupportedOption, match="Allowed: model, provider"):
        spent(by="colour")


def test_a_group_is_in_flight_until_its_cost_is_final():
    """Accepted tasks, and made ones whose cost the gateway has not reported."""

    def account(state, kind="unknown"):
        return SpendingGroup("", False, state, cost(1, kind=kind), Cost(), 1, 1, None)

    flying = [("planned", "unknown"), ("submitting", "unknown"), ("submitted", "reserved"), ("made", "estimated")]
    landed = [("made", "measured"), ("made", "calculated"), ("saved", "estimated"), ("failed", "unknown"), ("unknown", "unknown")]
    assert [account(*each).in_flight for each in flying + landed] == [True] * 4 + [False] * 5


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def test_the_magic_shows_tables_and_a_chart_for_each_currency(shell, capsys):
    """Rows by model, the sum of each currency, the chart with the same facts as text, play money in a table of its own."""
    shell.run("%imagegen cost")
    assert capsys.readouterr().out.strip() == "Nothing was spent yet."
    task("saved", cost("0.21"), model="gpt-image-2", day="2026-11-02")
    task("saved", cost("0.30"), model="gpt-image-1", day="2026-11-03")
    task("saved", cost(50, "credits", "reserved"), provider="evolink", model="gpt-image-2", day="2026-11-03")
    task("unknown")
    task("saved", cost(3), sandbox=True)
    shell.run("%imagegen cost")
    text, page = shell.shown()[0], shell.shown("text/html")[0]
    for words in ("gpt-image-1 (apimart)", "$0.30", "total", "$0.51", "50 credits", "1 task", "Sandbox, not charged", "$3.00"):
        assert words in text
        assert words in page
    assert "$0.51 spent from 2026-11-02 to 2026-11-03, on 2 days. Most on 2026-11-03: $0.30." in text
    assert "50 credits spent on 2026-11-03." in text
    assert "Column chart" not in page  # of two days


def test_the_magic_shows_charts_where_they_say_it_better(shell):
    """From three days on columns, and from two services on bars with amounts and percents; each currency by itself."""
    for day, amount, provider in (("2026-11-02", "0.20", "apimart"), ("2026-11-03", "0.30", "evolink"), ("2026-11-09", "0.50", "apimart")):
        task("saved", cost(amount), provider=provider, day=day)
        task("saved", cost(50, "credits"), provider="gccai", day=day)
    shell.run("%imagegen cost --by quality")
    text, page = shell.shown()[0], shell.shown("text/html")[0]
    assert page.count('role="img"') == 2
    assert "Spent in USD per day" in page
    assert "Column chart: Spent in credits per day, 8 columns. 150 credits spent from 2026-11-02 to 2026-11-09, on 3 days." in page
    assert re.search(r"apimart +\$0.70, 70%\nevolink +\$0.30, 30%", text)
    assert 'style="width:70%;height:6px' in page
    assert len(page) < 20_000


def test_the_magic_takes_since_and_by(shell, capsys):
    """`--since` and `--by` choose; prompts are escaped."""
    task("saved", cost("0.21"), prompt="a <b>fox</b>")
    task("saved", cost("0.30"), day="2020-01-01")
    shell.run("%imagegen cost --by prompt --since 7d")
    text, page = shell.shown()[0], shell.shown("text/html")[0]
    assert "a <b>fox</b>" in text
    assert "$0.30" not in text
    assert "&lt;b&gt;fox" in page
    assert "<b>fox" not in page
    shell.run("%imagegen cost --since 2999-01-01")
    assert capsys.readouterr().out.strip() == "Nothing was spent since 2999-01-01."


def test_many_rows_are_bounded_and_all_are_in_the_sum(shell):
    """A thousand prompts do not give a page of a thousand rows."""
    for number in range(60):
        task("saved", cost("0.01"), prompt=f"fox {number}")
    shell.run("%imagegen cost --by prompt")
    text = shell.shown()[0]
    assert "and 10 more, included in the total" in text
    assert "$0.60" in text


def test_rows_of_one_unit_add_up():
    """Within a unit every kind and count is added."""
    one = Spent("a", "USD", False, Decimal(1), Decimal(2), Decimal(3), 1, 2, 3, Decimal(4))
    assert one + one == Spent("a", "USD", False, Decimal(2), Decimal(4), Decimal(6), 2, 4, 6, Decimal(8))
