"""Charts in outputs: small, readable without colour, style or sight, and left whole by a notebook's sanitizer."""

import html.parser
import re
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some
from ledgers import saved
from shells import a_shell

from imagegen_magic.engine import api, loop
from imagegen_magic.notebook.output.charts import DayChart
from imagegen_magic.notebook.output.tables import BLUE, ORANGE, Cell, Table

DAY = date(2026, 11, 2)
KEPT_TAGS = {"div", "span", "details", "summary", "table", "tr", "td"}  # by the sanitizer of JupyterLab 4.6
KEPT_STYLES = {
    *(
        "display",
        "align-items",
        "justify-content",
        "height",
        "width",
        "max-width",
        "min-width",
        "margin",
        "margin-right",
        "background",
        "flex",
    ),
    *("border-bottom", "font-weight", "color"),
}


class Parsed(html.parser.HTMLParser):
    """The tags of some HTML, with their attributes, and its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Keep it."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        """Keep it."""
        self.words.append(data)


def chart(values):
    """Return a chart of dollars."""
    return DayChart("Spent in USD", values, lambda amount: f"${amount}", lambda amount: f"${amount} spent")


@given(some.dictionaries(some.dates(date(2020, 1, 1), date(2029, 1, 1)), some.decimals(0, 10**6, places=2), min_size=1, max_size=400))
def test_of_any_values_it_is_small_and_has_them_all(values):
    """At most 60 columns in 20 kB; the table beside the columns has the whole sum."""
    drawn = chart(values)
    page = drawn.html()
    parsed = Parsed(page)
    assert len(page) < 20_000
    columns = [attributes for _, attributes in parsed.tags if "title" in attributes]
    assert len(columns) == 0 if len(values) < 3 else 1 <= len(columns) <= 60
    listed = sum((Decimal(words[1:]) for words in parsed.words if re.fullmatch(r"\$[\d.]+", words)), Decimal(0))
    assert listed == (sum(values.values()) if columns else 0)
    assert f"${sum(values.values(), Decimal(0))} spent" in drawn.text()


def test_it_says_what_it_shows():
    """To a screen reader by its name, to everyone by a sentence, and by a table that unfolds; a day without a value is a gap."""
    drawn = chart({DAY: Decimal("1.20"), DAY + timedelta(2): Decimal("0.30"), DAY + timedelta(9): Decimal("2.00")})
    sentence = "$3.50 spent from 2026-11-02 to 2026-11-11, on 3 days. Most on 2026-11-11: $2.00."
    assert drawn.text() == sentence
    parsed = Parsed(drawn.html())
    (image,) = [attributes for _, attributes in parsed.tags if attributes.get("role") == "img"]
    assert image["aria-label"] == f"Column chart: Spent in USD per day, 10 columns. {sentence}"
    assert sentence in parsed.words
    heights = [re.search(r"height:([\d.]+)%", attributes["style"])[1] for _, attributes in parsed.tags if "title" in attributes]
    assert heights == ["60", "0", "15", *["0"] * 6, "100"]
    assert parsed.words[-8:] == ["2026-11-11", "Values", "2026-11-02", "$1.20", "2026-11-04", "$0.30", "2026-11-11", "$2.00"]


def test_many_days_share_columns():
    """Of a year each column is a week; the title says so."""
    drawn = chart({DAY + timedelta(day): Decimal(1) for day in range(365)})
    assert "Spent in USD per 7 days, 53 columns" in drawn.html()
    assert f"{DAY}: $7" in drawn.html()


def test_a_sanitizer_leaves_it_whole():
    """An untrusted notebook shows the same: no svg, no style sheet, no property that is stripped."""
    page = chart({DAY + timedelta(day): Decimal(day) for day in range(9)}).html() + Table((), [[Cell("3 of 4", bar=0.75)]]).html()
    tags = Parsed(page).tags
    assert {tag for tag, _ in tags} <= KEPT_TAGS | {"tbody"}
    styles = [attributes["style"] for tag, attributes in tags if "style" in attributes and tag == "div"]
    assert {each.partition(":")[0] for style in styles for each in style.split(";") if each} <= KEPT_STYLES


def test_words_are_escaped():
    """A unit comes from a service."""
    drawn = DayChart("Spent in <b>", {DAY + timedelta(day): Decimal(1) for day in range(3)}, lambda amount: f"{amount} <b>", str)
    assert "<b>" not in drawn.html()


@pytest.mark.parametrize("colour", [BLUE, ORANGE])
@pytest.mark.parametrize("page", ["#ffffff", "#111111", "#212121"])
def test_colours_stand_out_on_light_and_dark_pages(colour, page):
    """By 3 to 1, as WCAG 1.4.11 has it for graphics."""
    light, dark = sorted((luminance(colour), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def luminance(colour):
    """Return the relative luminance of WCAG 2."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


class TestCommands:
    """History and conformance; `cost` is in test_money_ledger."""

    @pytest.fixture
    def shell(self):
        """A shell with the extension loaded."""
        with a_shell() as shell:
            yield shell

    def test_history_shows_the_pictures_of_each_day_that_match(self, shell):
        """From three days on."""
        images = [saved(prompt)[0] for prompt in ("a fox", "a fox", "a fox", "an owl")]
        shell.run("%imagegen history")
        assert "per day" not in shell.shown("text/html")[0]
        days = ["2026-11-02", "2026-11-03", "2026-11-05", "2026-11-09"]

        def date_them(connection):
            for image, day in zip(images, days, strict=True):
                connection.execute("UPDATE pictures SET saved_at = ? WHERE id = ?", (f"{day}T12:00:00.000+00:00", image.id))

        loop.run(api.ledger().run(date_them))
        shell.run("%imagegen history --since 2026-01-01 fox")
        assert shell.shown()[0].startswith("3 pictures from 2026-11-02 to 2026-11-05, on 3 days. Most on 2026-11-02: 1.\n")
        assert "Column chart: Pictures per day, 4 columns." in shell.shown("text/html")[0]

    def test_conformance_has_a_bar_beside_each_share(self, shell):
        """What came as requested is blue, what failed orange; the words are those of before."""
        images = [saved("a fox")[0] for _ in range(4)]

        def check(connection):
            for image in images:
                connection.execute("INSERT OR REPLACE INTO checks VALUES (?, ?, 1, NULL)", (image.id, image.id != images[0].id))

        loop.run(api.ledger().run(check))
        shell.run("%imagegen conformance")
        page = shell.shown("text/html")[0]
        assert f'<div style="width:75%;height:6px;background:{BLUE}"></div></div>3 of 4' in page
        assert f'<div style="width:0%;height:6px;background:{ORANGE}"></div></div>0 of 4' in page
        assert re.search(r"gpt-image-2 \(evolink\) +4 +3 of 4 +4 of 4 +– ", shell.shown()[0])
        assert len(page) < 20_000
