"""Budgets: a request that would exceed one is refused before anything is sent, also with several kernels at once."""

import contextlib
import multiprocessing
import sqlite3
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from servers import sandbox_thread
from shells import a_shell

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger import budget
from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask, iso
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import BudgetExceeded, ContentRejected, ImageGenError, TaskFailed
from imagegen_magic.result import Cost

pytestmark = pytest.mark.slow

CENT = Decimal("0.01")


def usd(amount, kind="estimated", **more):
    """Return so many dollars."""
    return Cost(Decimal(str(amount)), "USD", kind, **more)


def new_job(price, tasks=1, *, sandbox=False, pictures=1):
    """Return a request with that price as a whole."""
    asked = {"prompt": "a fox"}
    sent = {"method": "POST", "path": "/", "json": {}}
    return NewJob(
        "apimart", "apimart", "https://example.org", sandbox, "m", "low", "1k", asked, asked, {"tasks": tasks}, price, "imagegen", None,
        [NewTask(sent, pictures, f"key-{number}") for number in range(tasks)],
    )  # fmt: skip


def ask(price, *, pictures=1, unknown=None, book=None, **more):
    """Record a request as the engine does; returns its tasks' rows. Raises BudgetExceeded."""
    book = book or api.ledger()
    allow = budget.budget_check([(price, pictures)], book, unknown)
    ((_, rows),) = loop.run(book.add([new_job(price, pictures=pictures, **more)], allow=allow))
    return rows


def put(amount, **more):
    """Set a budget."""
    loop.run(budget.set_budget(api.ledger(), Decimal(str(amount)), **more))


def standing(unknown=None):
    """Return the one budget's standing as (spent, reserved, left, unknown)."""
    (found,) = loop.run(budget.budget_statuses(api.ledger(), unknown))
    return found.spent, found.reserved, found.left, found.unknown


def mark(row, state, **columns):
    """Record the outcome of a task."""
    loop.run(api.ledger().set_state(row, state, **columns))


def test_without_a_budget_every_request_is_allowed():
    """At any price."""
    assert ask(usd(1_000_000))
    assert ask(Cost())


def test_a_request_that_exceeds_the_budget_is_refused():
    """The last cent may be used; nothing of a refused request is recorded."""
    put(1)
    ask(usd("0.60"))
    ask(usd("0.40"))
    with pytest.raises(BudgetExceeded) as refusal:
        ask(usd("0.01"))
    assert (refusal.value.limit, refusal.value.spent, refusal.value.reserved, refusal.value.asked) == (1, 0, 1, CENT)
    assert len(loop.run(api.ledger().tasks())) == 2


def test_the_refusal_has_all_the_facts():
    """The budget, what is spent and reserved, the price of this request, who has to act, that nothing was charged, and what to do."""
    put(1, per="day")
    (row,) = ask(usd("0.25"))
    mark(row, "saved", cost=usd("0.20", "measured"))
    ask(usd("0.50"))
    with pytest.raises(BudgetExceeded) as refusal:
        ask(usd("0.42"))
    assert str(refusal.value) == (
        "This request would exceed the budget of $1.00 a day: "
        "$0.20 is spent, $0.50 is reserved for running tasks, and this request costs $0.42. Nothing was charged. "
        "Request less, wait for the running tasks, or change the budget "
        "(%imagegen budget AMOUNT --per day; %imagegen budget off removes it)."
    )
    assert (refusal.value.blame, refusal.value.charge) == ("you", "no")


def test_an_estimate_is_reserved_until_the_cost_is_known():
    """Planned, submitting, submitted and made tasks count with the request's price, then with the measured cost."""
    put(5)
    (row,) = ask(usd("0.50"))
    for state in ("planned", "submitting", "submitted", "made"):
        mark(row, state)
        assert standing() == (0, Decimal("0.50"), Decimal("4.50"), 0), state
    mark(row, "made", cost=usd("0.30", "measured"))
    assert standing() == (Decimal("0.30"), 0, Decimal("4.70"), 0)
    mark(row, "saved")
    assert standing() == (Decimal("0.30"), 0, Decimal("4.70"), 0)


def test_each_task_reserves_its_share():
    """A request of four tasks of which one is saved: its cost, and three quarters of the price."""
    put(5)
    rows = ask(usd("0.40"), tasks=4)
    mark(rows[0], "saved", cost=usd("0.08", "measured"))
    assert standing() == (Decimal("0.08"), Decimal("0.30"), Decimal("4.62"), 0)


def test_an_estimate_counts_if_the_gateway_reports_no_cost():
    """A saved image whose cost is an estimate is spent, at the estimate."""
    put(5)
    (row,) = ask(usd("0.50"))
    mark(row, "saved", cost=usd("0.50"))
    assert standing() == (Decimal("0.50"), 0, Decimal("4.50"), 0)


def test_a_failure_counts_only_if_it_may_have_been_charged():
    """A free failure releases its share; one that may have been charged does not, nor does a submission of unknown outcome."""
    put(5)
    rows = ask(usd("0.40"), tasks=4)
    mark(rows[0], "failed", error=ContentRejected("it said: . It was charged. No"))
    mark(rows[1], "failed", error=TaskFailed("it could not make it"))
    mark(rows[2], "unknown", error="the process ended while this was being submitted")
    mark(rows[3], "dropped")
    assert standing() == (Decimal("0.20"), 0, Decimal("4.80"), 0)


def test_a_gateways_message_cannot_make_a_failure_free():
    """The charge is not read from the gateway's error text."""
    put(5)
    (row,) = ask(usd("0.50"))
    mark(row, "failed", error=TaskFailed("It said: oops. Nothing was charged. Never mind"))
    assert standing()[0] == Decimal("0.50")


def test_an_unknown_price_is_refused():
    """It cannot be checked against the budget; nothing is sent, and the message has the next step."""
    put(5)
    with pytest.raises(
        BudgetExceeded, match=r"price of this request is unknown or partly unknown.*Nothing was charged.*unknown_price = 0.20"
    ) as refusal:
        ask(Cost())
    assert (refusal.value.asked, refusal.value.charge) == (None, "no")
    with pytest.raises(BudgetExceeded, match="partly unknown"):
        ask(usd("0.10", unknown=1))


def test_an_unknown_price_counts_with_the_setting_for_each_image():
    """With `unknown_price` such a request is allowed, reserved and refused like any other."""
    put(1)
    ask(Cost(), pictures=2, unknown=Decimal("0.30"))
    assert standing(Decimal("0.30")) == (0, Decimal("0.60"), Decimal("0.40"), 0)
    ask(usd("0.05", unknown=1), unknown=Decimal("0.30"))
    with pytest.raises(BudgetExceeded, match=r"\$0.95 is reserved.*costs \$0.30"):
        ask(Cost(), unknown=Decimal("0.30"))


def test_unknown_costs_are_counted_and_not_invented():
    """Images of unknown cost from before the budget are counted if no setting gives a price."""
    (row,) = ask(Cost())
    mark(row, "saved")
    put(1, per="day")
    assert standing() == (0, 0, 1, 1)
    assert standing(Decimal("0.25")) == (Decimal("0.25"), 0, Decimal("0.75"), 0)


def test_a_budget_limits_its_own_unit_only():
    """Credits do not count in dollars, even if the other budget is used up."""
    put("0.10")
    ask(Cost(Decimal(50), "credits", "estimated"))
    ask(usd("0.10"))
    ask(Cost(Decimal(50), "credits", "estimated"))
    assert standing() == (0, Decimal("0.10"), 0, 0)
    put(120, unit="Credits")
    with pytest.raises(BudgetExceeded, match="would exceed the budget of 120 Credits in all"):
        ask(Cost(Decimal(121), "credits", "estimated"))


def test_play_money_is_never_counted():
    """The sandbox's images use no budget, and no budget stops them."""
    put("0.01")
    book = api.ledger()
    loop.run(book.add([new_job(usd(3), sandbox=True)]))
    assert standing() == (0, 0, CENT, 0)
    assert len(run(generate("a red fox", provider="apimart", size="1:1", quality="high", sandbox=True))) == 1


def test_a_budget_in_all_counts_from_when_it_was_set():
    """Earlier spending does not count; setting it again starts again."""
    ask(usd(3))
    time.sleep(0.01)
    put(2)
    assert standing() == (0, 0, 2, 0)
    ask(usd(2))
    time.sleep(0.01)
    put(1)
    assert standing() == (0, 0, 1, 0)


@pytest.mark.parametrize(("per", "before"), [("day", timedelta(days=1)), ("month", timedelta(days=32))])
def test_a_day_and_a_month_are_those_of_the_calendar(per, before, own_world):
    """What was asked for today (this month) counts completely; what is older than its first moment does not."""
    (new,), (old,) = ask(usd(1)), ask(usd(2))
    for row in (new, old):
        mark(row, "submitted", task_id="t")
    path = api.ledger().path
    loop.stop()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        start = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        earlier = iso(start - 0.001) if per == "day" else iso((datetime.now() - before).timestamp())
        connection.execute("UPDATE jobs SET created = ? WHERE id = (SELECT job FROM tasks WHERE row = ?)", (earlier, old))
    put(5, per=per)
    assert standing()[2] == 4


def test_a_session_is_one_kernel(own_world):
    """Its budget counts its own requests, limits no other session, and ends with it."""
    put(1, per="session")
    ask(usd("0.70"))
    other = Ledger(load().home)
    try:
        ask(usd(5), book=other)
        assert loop.run(budget.budget_statuses(other)) == []
        with pytest.raises(BudgetExceeded, match="of this session"):
            ask(usd("0.70"))
        assert standing() == (0, Decimal("0.70"), Decimal("0.30"), 0)
    finally:
        other.close()
    loop.stop()
    put(9)
    assert [each.budget.per for each in loop.run(budget.budget_statuses(api.ledger()))] == ["all"]
    with contextlib.closing(sqlite3.connect(api.ledger().path)) as connection:
        assert connection.execute("SELECT count(*) FROM budgets").fetchone() == (1,)


def test_the_planned_tasks_of_an_ended_kernel_are_not_reserved():
    """They will not be sent; what it had submitted stays reserved."""
    put(5)
    book = Ledger(load().home)
    ask(usd(1), book=book)
    (row,) = ask(usd(2), book=book)
    loop.run(book.set_state(row, "submitted", task_id="t"))
    assert standing()[1] == 3
    book.close()
    assert standing()[1] == 2


def test_every_budget_applies():
    """The tightest of several refuses; they are removed one by one or all together."""
    put(10, per="month")
    put(1, per="day")
    put(50, unit="credits")
    with pytest.raises(BudgetExceeded, match="a day"):
        ask(usd(2))
    assert [str(each) for each in loop.run(budget.remove_budgets(api.ledger(), per="day"))] == ["$1.00 a day"]
    ask(usd(2))
    assert len(loop.run(budget.remove_budgets(api.ledger()))) == 2
    ask(usd(20))


def _race(home, barrier, results, amount, tries):
    """Ask as one of several processes, as quickly as it can."""

    async def asking():
        book = Ledger(Path(home), patience=60)
        await book.check()
        barrier.wait(60)
        allowed = 0
        for _ in range(tries):
            with contextlib.suppress(BudgetExceeded):
                await book.add([new_job(usd(amount))], allow=budget.budget_check([(usd(amount), 1)], book))
                allowed += 1
        results.put(allowed)
        barrier.wait(60)  # no process ends before all have asked
        book.close()

    import asyncio

    asyncio.run(asking())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_concurrent_processes_cannot_exceed_it_together():
    """Four processes request ten cents each, twelve times, of a budget of two dollars: exactly twenty are allowed."""
    put(2)
    home = str(load().home)
    loop.stop()
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    racers = [context.Process(target=_race, args=(home, barrier, results, "0.10", 12)) for _ in range(4)]
    for racer in racers:
        racer.start()
    allowed = [results.get(timeout=90) for _ in racers]
    for racer in racers:
        racer.join(60)
    results.close()
    assert sum(allowed) == 20
    with contextlib.closing(sqlite3.connect(Path(home) / "ledger.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (20,)


@pytest.fixture(scope="module")
def server():
    """A gateway in a process of its own, so that money is not play money."""
    with sandbox_thread(duration=0.2) as running:
        yield running


@pytest.fixture
def gateway(server, monkeypatch):
    """The gateway with its key and address in the environment."""
    for name, value in server.environ("apimart").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    return server


def test_a_refused_request_is_never_sent(gateway):
    """Neither by `generate` nor by a cell; a request that fits is sent and counted."""
    put("0.10", per="day")
    asked = {"provider": "apimart", "size": "1:1", "quality": "medium"}
    with pytest.raises(BudgetExceeded, match=r"costs \$0"):
        run(generate("a fox too many", n=6, **asked))
    assert gateway.submissions("a fox too many") == []
    made = run(generate("a fox that fits", **asked))
    assert len(gateway.accepted("a fox that fits")) == 1
    assert standing()[0] == made.cost.amount


def test_no_reference_is_uploaded_for_a_refused_request(gateway, own_world):
    """The budget is checked before the upload."""
    from scripted import draw

    from imagegen_magic.request import LocalImage

    put("0.001")
    fox = LocalImage(draw("fox", (64, 64)), "image/png", 64, 64, "fox.png")
    with pytest.raises(BudgetExceeded):
        run(generate(ImageRequest("a fox with a hat", size="1:1", quality="low", references=(fox,)), provider="apimart"))
    assert gateway.log()["uploads"] == 0
    with contextlib.closing(sqlite3.connect(api.ledger().path)) as connection:
        assert connection.execute("SELECT count(*) FROM uploads").fetchone() == (0,)


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def test_the_magic_sets_shows_and_removes(shell):
    """`budget 5 --per day` sets it, `budget` shows what is spent, reserved and left, `budget off` removes it."""
    shell.run("%imagegen budget")
    assert "No budget" in shell.shown()[0]
    shell.run("%imagegen budget 5 --per day")
    assert "$5.00 a day" in shell.shown()[0]
    (row,) = ask(usd("0.25"))
    mark(row, "saved", cost=usd("0.25", "measured"))
    ask(usd("0.50"))
    shell.run("%imagegen budget 200 --unit credits")
    shell.run("%imagegen budget")
    text = shell.shown()[0]
    assert [words for words in ("$5.00 a day", "$0.25", "$0.50", "$4.25", "200 credits in all") if words not in text] == []
    shell.run("%imagegen budget off --per day")
    assert "$5.00 a day" in shell.shown()[0]
    shell.run("%imagegen budget off")
    shell.run("%imagegen budget")
    assert "No budget" in shell.shown()[0]


def test_the_magic_shows_the_refusal_in_one_line(shell, gateway):
    """A cell that would exceed the budget ends in one line, and nothing is sent."""
    shell.run("%imagegen budget 0.01")
    with pytest.raises(BudgetExceeded) as refusal:
        shell.run("%imagegen -p apimart --size 1:1 --quality high a fox of gold")
    assert refusal.value._render_traceback_()[0].startswith("BudgetExceeded: This request would exceed the budget of $0.01 in all")
    assert gateway.submissions("a fox of gold") == []


@pytest.mark.parametrize("line", ["five", "-5", "nan", "inf", "5 --per week", "--per day", "off --per week", "5 --unit ''"])
def test_the_magic_refuses_an_invalid_budget(shell, line):
    """An invalid amount or period: one sentence, and no budget changes."""
    with pytest.raises((UsageError, ImageGenError)):
        shell.run(f"%imagegen budget {line}")
    assert loop.run(budget.budget_statuses(api.ledger())) == []
