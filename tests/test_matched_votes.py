"""Votes as a score: matched pairs, few false alarms, no interval before the goal, and the table of a real sweep."""

import math
import random
from collections import Counter

import pytest
from IPython.core.error import UsageError
from shells import a_shell

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.annotations import set_stars
from imagegen_magic.engine.ledger.votes import Vote, add_vote
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.studies import ranking
from imagegen_magic.studies.bradley_terry import fit, influences
from imagegen_magic.studies.effects.raters import effects_of_raters
from imagegen_magic.studies.effects.records import Row, ScoreRows
from imagegen_magic.studies.effects.table import effects

SCATTER = 0.3  # of pictures of one combination, in log odds
STYLES, QUALITIES, SUBJECTS = "abc", "lh", "wxyz"


def combinations(qualities=QUALITIES):
    """Return the combination of each picture of a sweep of styles, qualities and subjects."""
    rows = [{"style": style, "quality": quality, "subject": subject} for style in STYLES for quality in qualities for subject in SUBJECTS]
    return dict(enumerate(rows))


def noisy(difference, generator):
    """Choose the better of two pictures by the odds of their difference."""
    return generator.random() < 1 / (1 + math.exp(-difference))


def errorless(difference, generator):
    """Choose the better of two pictures, always."""
    return difference > 0


def voted(known, generator, pair, scatter=SCATTER, judge=noisy, subjects=1.0):
    """Return the votes that the goal asks for, where no style or quality makes a difference, only pictures and subjects do.

    `subjects` is the standard deviation of the subjects, `scatter` that of the pictures, in log odds.
    """
    of_subject = {subject: generator.gauss(0, subjects) for subject in SUBJECTS}
    truth = {picture: generator.gauss(0, scatter) + of_subject[combination["subject"]] for picture, combination in known.items()}
    votes = []
    for _ in range(ranking.votes_needed(len(known))):
        left, right = pair(votes)
        votes.append(Vote(left, right, left if judge(truth[left] - truth[right], generator) else right))
    return votes


def plain(votes, known):
    """Return the effects on the strengths with the residuals alone in the intervals."""
    found = ranking.strengths(list(known), votes)
    return effects([ScoreRows("votes", tuple(Row(known[picture], found[picture]) for picture in known))])


def counted(votes, known):
    """Return the effects as the table has them: their intervals also count the noise of the votes."""
    return effects_of_raters({"": votes}, known)


def of_styles(known, pair_of, generator, studies, table=counted, **truth):
    """Return the effects of the styles and qualities in many null studies."""
    tables = [table(voted(known, generator, lambda votes: pair_of(votes, generator), **truth), known) for _ in range(studies)]
    return [[one for one in table.comparisons if truth.get("subjects") == 0 or one.axis != "subject"] for table in tables]


def alarms_and_coverage(tables):
    """Return the share of null studies with anything clear, and that of the intervals with the truth, 0, in them."""
    every = [one.interval[0] <= 0 <= one.interval[1] for table in tables for one in table]
    return sum(any(one.clear for one in table) for table in tables) / len(tables), sum(every) / len(every)


class TestMatchedPairs:
    """Pairs that differ in one axis, by turns, with a share across."""

    def test_pairs_differ_in_exactly_one_axis(self):
        """Repeats and pairs that differ in two axes are not matched."""
        known = {1: {"style": "a", "quality": "l"}, 2: {"style": "b", "quality": "l"}, 3: {"style": "b", "quality": "h"}, 4: {}}
        known[5] = known[1]
        assert ranking.matched_pairs(list(known), known) == {(1, 2): "style", (2, 3): "quality", (2, 5): "style"}

    def test_one_in_five_is_across(self):
        """So all pictures are compared with each other; matched pairs are of each axis by turns, each met once before any twice."""
        known, generator, votes = combinations(), random.Random(1), []
        matched = ranking.matched_pairs(list(known), known)
        for _ in range(80):
            votes.append(Vote(*ranking.matched_pair(list(known), votes, matched, generator), None))
        axes = [matched.get((vote.left, vote.right)) or matched.get((vote.right, vote.left)) for vote in votes]
        across = axes[4::5]
        asked = Counter(axis for number, axis in enumerate(axes) if number % 5 != 4)
        assert None not in asked
        assert len(across) == 16
        assert max(asked.values()) - min(asked.values()) <= 5
        assert {*asked} == {"style", "quality", "subject"}
        joined = {0}
        for _ in known:
            joined |= {each for vote in votes for each in (vote.left, vote.right) if {vote.left, vote.right} & joined}
        assert joined == set(known)

    def test_an_axis_comes_first(self):
        """With --axis all matched pairs are of that axis."""
        known, generator, votes = combinations(), random.Random(1), []
        matched = ranking.matched_pairs(list(known), known)
        for _ in range(40):
            votes.append(Vote(*ranking.matched_pair(list(known), votes, matched, generator, "style"), None))
        axes = [matched.get((vote.left, vote.right)) or matched.get((vote.right, vote.left)) for vote in votes]
        assert {axis for number, axis in enumerate(axes) if number % 5 != 4} == {"style"}

    def test_without_matched_pairs_it_is_the_usual_one(self):
        """Pictures of no sweep are all compared with each other."""
        pair = ranking.matched_pair([1, 2, 3], [], {}, random.Random(4))
        assert pair == ranking.next_pair([1, 2, 3], [], random.Random(4))


@pytest.mark.parametrize(("judge", "subjects"), [(noisy, 0.0), (errorless, 1.0)])
def test_nothing_differs_and_little_is_clear(judge, subjects):
    """At most 9 % of the null studies have anything clear, of votes with and without errors; 92 to 99 % of the intervals hold.

    With the residuals alone in the intervals, 14 % of the studies of noisy votes have something clear.
    """
    check_null_studies(combinations("l"), judge, subjects, studies=80)


@pytest.mark.long
@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize(("judge", "subjects"), [(noisy, 0.0), (noisy, 1.0), (errorless, 0.0), (errorless, 1.0)])
def test_nothing_differs_in_larger_sweeps(judge, subjects, repeats):
    """The same of 24 and 48 pictures."""
    known = dict(enumerate([each for each in combinations().values() for _ in range(repeats)]))
    check_null_studies(known, judge, subjects, (300, 100)[repeats - 1])


def check_null_studies(known, judge, subjects, studies):
    """Simulate studies where nothing differs, and check false alarms and coverage."""
    matched = ranking.matched_pairs(list(known), known)

    def pair(votes, chance):
        return ranking.matched_pair(list(known), votes, matched, chance)

    alarms, coverage = alarms_and_coverage(of_styles(known, pair, random.Random(2), studies, judge=judge, subjects=subjects))
    assert alarms <= 0.09
    assert 0.92 <= coverage <= 0.99


def test_an_influence_is_what_leaving_out_a_pair_does():
    """A fit without the games of that pair moves the strengths in that direction, and nearly as far."""
    generator = random.Random(5)
    games = [(*generator.sample(range(6), 2), float(generator.random() < 0.6)) for _ in range(60)]
    moves = list(influences(6, games))
    pairs = list(dict.fromkeys(frozenset(game[:2]) for game in games))
    assert len(moves) == len(pairs)
    whole, _ = fit(6, games)
    for pair, move in zip(pairs, moves, strict=True):
        without, _ = fit(6, [game for game in games if set(game[:2]) != pair])
        change = [before - after for before, after in zip(whole, without, strict=True)]
        assert move == pytest.approx(change, abs=0.3 * max(map(abs, change)))


@pytest.mark.parametrize("studies", [25, pytest.param(70, marks=pytest.mark.long)])
def test_matched_pairs_need_fewer_votes(studies):
    """With as many votes, the error of the asked axis is at most 0.8 of that by the usual pairs.

    The pictures of a combination do not scatter here: no votes lessen that part of the error.
    """
    known = combinations()
    matched = ranking.matched_pairs(list(known), known)

    def error(pair_of):
        tables = of_styles(known, pair_of, random.Random(1), studies, plain, scatter=0)
        squares = [one.estimate**2 for table in tables for one in table if one.axis == "style"]
        return math.sqrt(sum(squares) / len(squares))

    asked = error(lambda votes, chance: ranking.matched_pair(list(known), votes, matched, chance, "style"))
    assert asked <= 0.8 * error(lambda votes, chance: ranking.next_pair(list(known), votes, chance))


class TestASweep:
    """`%imagegen effects` and `study.effects` on a sweep of the sandbox."""

    @pytest.fixture
    def shell(self):
        """A shell with a sweep of two styles by two subjects, two pictures each."""
        with a_shell() as shell:
            shell.run(
                "%%imagegen --sandbox -p evolink --size 1:1 -q low --sweep style=oil|ink --sweep subject=fox|owl -n 2 --yes -o sweep\n"
                "a {{style}} {{subject}}"
            )
            yield shell

    def test_stars_votes_and_the_checks(self, shell):
        """Stars are compared; votes have no interval before the goal; a check of a grown sweep is counted, the same one again is not."""
        sweep = shell.variables["sweep"]
        ledger = api.ledger()
        for number, image in enumerate(sweep[:6]):
            loop.run(set_stars(ledger, image.id, 4 + number % 2 if sweep.place(image)["style"] == "ink" else 1 + number % 2))
        loop.run(add_vote(ledger, Vote(sweep[0].id, sweep[1].id, sweep[1].id), sweep.study))
        found = sweep.effects("stars", "votes")
        assert {(one.axis, one.value) for one in found.comparisons} <= {("style", "ink"), ("subject", "owl"), ("subject", "fox")}
        assert (found["stars"].measured, dict(found["stars"].missing)) == (6, {"without stars": 2})
        assert found["votes"].problem == "1 of 28 votes: there is no comparison before the goal."
        assert sweep.effects("stars").checks == 1
        loop.run(set_stars(ledger, sweep[6].id, 5))
        shell.run("%imagegen effects sweep stars --against style=ink")
        (printed,) = shell.shown()
        assert "stars (1 to 5, higher is better): 7 of 8 have a value, 1 without stars" in printed
        assert "style, compared with ink" in printed
        assert "The sweep was checked 2 times while it grew; 'clear' is weaker than stated." in printed
        assert "These pictures are of the sandbox" in printed

    def test_scores_of_the_ledger_and_of_scorers(self, shell):
        """Without stars or a scorer these are seconds and cost; a scorer's column is compared by its name."""
        sweep = shell.variables["sweep"]
        assert {score.name for score in sweep.effects().scores} <= {"seconds", "cost"}
        shell.run("def pixels(image):\n    if image.id % 4 == 0:\n        raise ValueError('no')\n    return image.id % 3")
        shell.run("%imagegen score sweep pixels")
        found = sweep.effects()
        assert [score.name for score in found.scores] == ["pixels"]
        assert dict(found["pixels"].missing) == {"failed": sum(image.id % 4 == 0 for image in sweep)}
        assert [score.name for score in sweep.effects("seconds").scores] == ["seconds"]
        with pytest.raises(UnsupportedOption, match="have no score stile"):
            sweep.effects("stile")
        with pytest.raises(UnsupportedOption, match="style has 2 values"):
            sweep.effects("pixels", over="style")

    def test_refusals(self, shell):
        """Nothing is compared with what the sweep does not have."""
        shell.shell.user_ns["others"] = list(shell.variables["sweep"])
        for words, message in (
            ("effects others", "others is no sweep"),
            ("effects sweep stars --against style", "--against style=oil"),
            ("vote sweep --axis stile", "No two pictures of sweep differ in stile alone. Axes with such pairs: style, subject"),
        ):
            with pytest.raises(UsageError, match=message):
                shell.run(f"%imagegen {words}")
