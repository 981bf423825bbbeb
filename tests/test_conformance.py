"""Reports on conformance, from requests to the sandbox and from rows as they stand in a ledger."""

import contextlib
import sqlite3

import pytest
from servers import sandbox_server
from shells import a_shell

from imagegen_magic import conformance, generate, run
from imagegen_magic.engine import api
from imagegen_magic.engine.conformance import checks
from imagegen_magic.engine.ledger.records import Checks
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageGenError, UnsupportedOption
from imagegen_magic.imaging.verify import ImageInfo
from imagegen_magic.studies.conformance import Share

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    """One gateway process."""
    with sandbox_server(duration=0.05, plain=True) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """Every gateway is the server."""
    server.be_every_gateway(monkeypatch)
    return server


def _make(prompt, **options):
    with contextlib.suppress(ImageGenError):
        run(generate(prompt, provider="gccai", size="1:1", quality="low", **options))


def test_checks_of_the_bytes():
    """Each is None if nothing was requested."""
    info = ImageInfo(1024, 768, "image/png", ".png", alpha=False, transparent=False)
    assert checks({"pixels": [[1024, 768]], "mime_type": "image/png", "alpha": False}, info) == Checks(True, True, True)
    assert checks({"pixels": [[1024, 1024]], "mime_type": "image/webp", "alpha": True}, info) == Checks(False, False, False)
    assert checks({}, info) == Checks(None, None, None)


def test_a_report_of_what_came():
    """Wrong pixels, a wrong format, a missing picture, a failure and an unknown submission are counted; the sandbox stands apart."""
    _make("as asked")
    _make("wrong size [[fault: wrong-size]]")
    _make("wrong format [[fault: wrong-format]]", output_format="png")
    _make("fewer [[fault: fewer-pictures]]", n=2)
    _make("failed [[fault: failed]]")
    _make("unknown [[fault: drop-after-accept]]")
    _make("played", sandbox=True)
    with contextlib.closing(sqlite3.connect(api.ledger(load()).path)) as connection, connection:
        connection.execute("UPDATE tasks SET seconds = row WHERE seconds IS NOT NULL")  # 1 to 4
    real, played = conformance()
    assert (real.key, real.sandbox, played.sandbox) == ("gpt-image-2-official (gccai)", False, True)
    assert (real.tasks, real.pixels, real.format) == (6, Share(3, 4), Share(3, 4))
    assert (real.count, real.failed, real.unknown) == (Share(3, 4), Share(1, 6), Share(1, 6))
    assert real.alpha == Share()
    assert (real.median, real.p90) == (2.5, 4.0)
    assert played.tasks == 1


def test_seconds_are_the_gateways():
    """As it reports them with a finished task."""
    run(generate("timed", provider="evolink", size="1:1", quality="low"))
    (row,) = conformance()
    assert row.median == row.p90 == pytest.approx(0.05)


def test_estimate_against_charge():
    """Only tasks that have both, in one unit."""
    run(generate("priced", provider="apimart", size="1:1", quality="low"))
    (row,) = conformance(by="provider")
    assert (row.key, row.unit) == ("apimart", "USD")
    assert row.estimated > 0
    assert row.charged > 0


def test_rows_of_an_earlier_version():
    """Without recorded checks, pixels and format are compared by the ledger; alpha is not known."""
    _make("old", background="opaque")
    with contextlib.closing(sqlite3.connect(api.ledger(load()).path)) as connection, connection:
        connection.execute("DELETE FROM checks")
    (row,) = conformance()
    assert (row.pixels, row.alpha) == (Share(1, 1), Share())


def test_a_data_frame():
    """One row a key, shares as fractions."""
    _make("framed")
    frame = conformance().to_frame()
    assert list(frame["key"]) == ["gpt-image-2-official (gccai)"]
    assert frame["pixels"][0] == 1.0


def test_an_unknown_grouping_is_refused():
    """With the ones there are."""
    with pytest.raises(UnsupportedOption, match="grouped by"):
        conformance(by="moon")


def test_the_subcommand():
    """A table; before the first task a sentence."""
    _make("shown")
    with a_shell() as shell:
        shell.run("%imagegen conformance --by provider")
        (text,) = shell.shown()
    assert "gccai" in text
    assert "1 of 1" in text
