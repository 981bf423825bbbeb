"""Plots of scores with matplotlib: what they show, in words too, in the user's own style, and without matplotlib."""

import random
import sys
from dataclasses import replace
from decimal import Decimal

import matplotlib
import pytest
from ledgers import swept

from imagegen_magic import run, score, scorer
from imagegen_magic._version import INSTALL_NAME
from imagegen_magic.engine import api
from imagegen_magic.engine.ledger.annotations import set_stars
from imagegen_magic.engine.ledger.votes import Vote, add_vote
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.result import Cost

matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")
STYLES, SUBJECTS = ["oil", "ink"], ["fox", "owl", "<$cat$>"]


@pytest.fixture(autouse=True)
def closed():
    """Close the figures of a test."""
    yield
    pyplot.close("all")


def a_study(*units):
    """Return a sweep with the score `text`: ink is better, and the ink owl failed."""
    study = swept(
        "a {{subject}}, {{style}}",
        {"style": STYLES, "subject": SUBJECTS},
        repeat=3,
        cost=lambda number: Cost(Decimal(number), units[number % len(units)], "measured") if units else Cost(),
    )
    chance = random.Random(1)

    @scorer(better="higher", version="1")
    def text(image, combination):
        if combination == {"style": "ink", "subject": "owl"}:
            raise ValueError(image.id)
        return 0.5 + 0.3 * (combination["style"] == "ink") + chance.gauss(0, 0.05)

    run(score(study, text))
    return study


def words(ax):
    """Return all texts of axes."""
    return [each.get_text() for each in ax.texts]


def saved(ax):
    """Draw axes, which raises for what matplotlib cannot draw; returns them."""
    ax.figure.canvas.draw()
    return ax


class TestEffects:
    """`effects.plot()`: intervals with a sign and a word for each result."""

    def test_signs_and_words(self):
        """A filled diamond and `clear`, an empty circle and `inconclusive`; thick and thin lines; the dashed line is 0."""
        found = a_study().effects("text")
        ax = saved(found.plot())
        verdicts = ["clear" if one.clear else "inconclusive" for one in found.comparisons]
        assert set(verdicts) == {"clear", "inconclusive"}
        assert words(ax) == verdicts
        marks = [line for line in ax.lines if line.get_marker() in "Do"]
        assert [mark.get_marker() for mark in marks] == ["D" if one.clear else "o" for one in found.comparisons]
        assert all((mark.get_markerfacecolor() == ax.get_facecolor()) == (mark.get_marker() == "o") for mark in marks)
        assert ax.lines[0].get_linestyle() == "--"
        widths = {round(line.get_linewidth(), 1): line for line in ax.lines[1:4] if line.get_marker() == "None"}
        assert tuple(widths[5.0].get_xdata()) == found.comparisons[0].interval
        assert tuple(widths[1.5].get_xdata()) == found.comparisons[0].family_interval
        ticks = [tick.get_text() for tick in ax.get_yticklabels()]
        assert ticks[:3] == ["style, compared with oil", "ink", "subject, compared with fox"]
        assert all(one.verdict in ax.get_label() for one in found.comparisons)

    def test_one_score(self):
        """A plot has one scale, so a table of several scores needs a name; one without a comparison has no plot."""
        study = a_study()
        run(score(study, "brightness"))
        found = study.effects("text", "brightness")
        with pytest.raises(UnsupportedOption, match="comparisons of 2 scores, and a plot shows one"):
            found.plot()
        assert found.plot(score="brightness").get_label().startswith("Effects on brightness")
        with pytest.raises(UnsupportedOption, match="no comparison of stars"):
            found.plot(score="stars")


class TestScores:
    """`study.scores.heatmap`, `scatter` and `strip`."""

    def test_a_heat_map(self):
        """Mean and count in each cell; the missing one is hatched, and its word is `none`."""
        study = a_study()
        found = study.scores
        ax = saved(found.heatmap("text", "style", "subject"))
        values = [found["text"].numbers[image.id] for image in study.at(style="oil", subject="fox")]
        assert words(ax)[:2] == [f"{sum(values) / 3:.3g}", "n = 3"]
        assert words(ax).count("n = 3") == 5
        assert words(ax).count("none") == 1
        assert [patch.get_hatch() for patch in ax.patches] == ["////"]
        assert "ink, owl: none" in ax.get_label()
        assert f"oil, fox: {sum(values) / 3:.3g} (n = 3)" in ax.get_label()
        with pytest.raises(UnsupportedOption, match="no axis stile"):
            found.heatmap("text", "stile", "subject")
        with pytest.raises(UnsupportedOption, match="no score tekst"):
            found.heatmap("tekst", "style", "subject")

    def test_a_heat_map_shows_values_without_any_picture(self):
        """Each value of the sweep has its row, though no picture of it was made; a part of the sweep has only its own."""
        study = a_study()
        run(score(study, "brightness"))
        kept = tuple(image for image in study.images if study.places[image.task]["style"] != "ink")
        left = replace(study, images=kept)
        for found in (left.scores, run(score(left, "brightness"))):
            ax = saved(found.heatmap("brightness", "style", "subject"))
            assert "ink, fox: none" in ax.get_label()
            assert len(ax.patches) == len(study.axes["subject"])

    def test_one_score_against_another(self):
        """A point for each picture that has both; a cost has its unit, and two units are two scores."""
        ax = saved(a_study("USD").scores.scatter("cost", "text"))
        assert len(ax.lines[0].get_xdata()) == 15
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("cost USD", "text")
        assert "15 of 18 pictures have both scores" in ax.get_label()
        found = a_study("USD", "credits").scores
        with pytest.raises(UnsupportedOption, match="The pictures cost USD and credits, which are not added or compared"):
            found.scatter("cost", "text")
        assert len(found.scatter("cost credits", "text").lines[0].get_xdata()) < 15

    def test_pictures_from_best_to_worst(self):
        """Each has its value; of many, 12 of each end; a file that is gone is a hatched box."""
        study = a_study()
        found = study.scores
        best, *_, worst = sorted(found["text"].numbers.values(), reverse=True)
        gone = max(found["text"].numbers, key=found["text"].numbers.get)
        next(image for image in study if image.id == gone).path.unlink()
        ax = saved(found.strip(score="text"))
        assert (words(ax)[0], words(ax)[-1]) == (f"{best:.4g}", f"{worst:.4g}")
        assert (len(ax.images), [patch.get_hatch() for patch in ax.patches]) == (14, ["////"])
        assert ax.get_label().startswith("Pictures by text, best first; 3 of 18 pictures have no value. ink · ")
        many = swept("{{number}}", {"number": [str(number) for number in range(30)]})

        @scorer(better="lower", version="1")
        def place(image, combination):
            return int(combination["number"])

        ax = saved(run(score(many, place)).strip("place"))
        assert [text for text in words(ax) if text.isdigit()] == [str(number) for number in (*range(12), *range(18, 30))]
        assert "… 6 pictures between …" in words(ax)

    def test_stars_and_votes(self):
        """They need no scorer; votes are shown from the planned number on."""
        study = a_study()
        for number, image in enumerate(study[:4]):
            run(set_stars(api.ledger(), image.id, number + 1))
        assert words(study.scores.strip(score="stars")) == ["4", "3", "2", "1"]
        with pytest.raises(UnsupportedOption, match="no score votes"):
            study.scores.strip(score="votes")
        run(add_vote(api.ledger(), Vote(study[0].id, study[1].id, study[0].id)))
        with pytest.raises(UnsupportedOption, match="There are 1 of 63 votes"):
            study.scores.strip(score="votes")


class TestTheStyle:
    """Axes and style are the user's; matplotlib is optional."""

    def test_given_axes_and_style(self):
        """The given axes are returned; a dark style has light words and signs."""
        study = a_study()
        for style, white in (("default", False), ("dark_background", True)):
            with pyplot.style.context(style):
                given = pyplot.subplots()[1]
                ax = study.effects("text").plot(given)
                assert ax is given
                assert (ax.lines[0].get_color() == "white") == white
                assert (saved(study.scores.heatmap("text", "style", "subject")).images[0].get_cmap().name == "Blues_r") == white
        with matplotlib.rc_context({"font.size": 20}):
            assert study.effects("text").plot().texts[0].get_fontsize() == 20

    def test_without_matplotlib(self, monkeypatch):
        """The command that installs it is named."""
        study = a_study()
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        for plot in (study.effects("text").plot, lambda: study.scores.strip(score="text")):
            with pytest.raises(ModuleNotFoundError, match=rf"Plots need matplotlib: pip install '{INSTALL_NAME}\[plot\]'"):
                plot()


def test_the_grid_has_scores_only_on_request():
    """A caption below each picture has the value, or why there is none; without the option there is none."""
    study = a_study()
    captions = [tile.caption for tile in study.sheet(captions=study._score_captions("text")).contents.tiles()]
    values = study.scores["text"].numbers
    assert sorted(captions) == sorted([*(f"text {value:.4g}" for value in values.values()), *["text failed"] * 3])
    assert {tile.caption for tile in study.sheet().contents.tiles()} == {""}
    assert study.grid(edge=32, score="text").height > study.grid(edge=32).height
    assert study._score_captions("seconds")[study[0].id] == "seconds 1"
    with pytest.raises(UnsupportedOption, match="no score tekst"):
        study.grid(score="tekst")
