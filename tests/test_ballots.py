"""Raters: whose vote it is, what a judge's votes count for, and how far raters agree."""

import random

import pytest
from IPython.core.error import UsageError
from ledgers import saved
from shells import a_shell

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.votes import JUDGE, PERSON, Vote, add_vote, delete_vote, rater_name, votes_between
from imagegen_magic.studies import ranking
from imagegen_magic.studies.effects import raters


@pytest.fixture
def foxes():
    """Four pictures."""
    return saved("a secret fox", count=4)


def stored(images):
    """Return the votes between images."""
    return loop.run(votes_between(api.ledger(), [image.id for image in images]))


class TestRaters:
    """Each vote has a rater."""

    def test_a_vote_keeps_its_rater(self, foxes):
        """A vote without one is of the person at the notebook; a deleted vote takes its rater with it."""
        ledger, (one, two, *_) = api.ledger(), foxes
        plain = loop.run(add_vote(ledger, Vote(one.id, two.id, one.id)))
        named = loop.run(add_vote(ledger, Vote(one.id, two.id, two.id, rater="Ada")))
        assert stored(foxes) == [plain, named]
        assert [(vote.rater, vote.kind) for vote in stored(foxes)] == [("", PERSON), ("Ada", PERSON)]
        loop.run(delete_vote(ledger, named))
        assert stored(foxes) == [plain]
        assert [row[0] for row in ledger.read("SELECT count(*) FROM vote_raters")] == [0]

    def test_a_name_is_text(self):
        """It has one line, no control characters, and an end."""
        assert rater_name("  Ada\n\x1b[31m <b>  ") == "Ada [31m <b>"
        assert rater_name("x" * 500) == "x" * 80

    def test_the_command_shows_the_ranking_of_one_rater(self, foxes, capsys):
        """Without a name it is that of all people."""
        for rater in ("Ada", "Ada", "Bob"):
            loop.run(add_vote(api.ledger(), Vote(foxes[0].id, foxes[1].id, foxes[0].id, rater=rater)))
        loop.run(add_vote(api.ledger(), Vote(foxes[0].id, foxes[1].id, foxes[0].id, rater="gpt-x", kind=JUDGE)))
        with a_shell() as shell:
            shell.shell.user_ns["foxes"] = foxes
            for words, votes in (("", "3 votes"), ("--rater Ada", "2 votes"), ("--rater Bob", "1 vote")):
                capsys.readouterr()
                shell.run(f"%imagegen vote foxes {words}")
                assert f"Ranking of 4 pictures by {votes}\n" in capsys.readouterr().out
            shell.run("%imagegen vote foxes --rater 'Eve E'")
            printed = capsys.readouterr().out
            assert "There is no vote of Eve E on foxes yet." in printed
            assert "run %imagegen vote foxes --rater 'Eve E'" in printed
            with pytest.raises(UsageError, match="--rater takes the name of the person who votes"):
                shell.run("%imagegen vote foxes --rater ' '")


class TestJudges:
    """A judge is a rater of its own kind."""

    def test_an_async_judge_is_asked_in_both_orders(self, foxes):
        """Disagreement is a tie, and what it answered to each order is stored."""
        asked = []

        async def left_unless_first(left, right):
            asked.append((left.id, right.id))
            return foxes[0] if foxes[0] in (left, right) else left

        loop.run(ranking.judged(foxes, left_unless_first, both_ways=True, rater="gpt-x"))
        assert asked[1::2] == [pair[::-1] for pair in asked[::2]]
        assert len(asked) == 12
        for vote in stored(foxes):
            assert (vote.rater, vote.kind) == ("gpt-x", JUDGE)
            of_first = foxes[0].id in (vote.left, vote.right)
            assert vote.winner == (foxes[0].id if of_first else None)
            assert vote.sides == ("left left" if not of_first else "left right" if vote.left == foxes[0].id else "right left")
        assert raters.left_share(stored(foxes)) == 9 / 12

    def test_a_judge_is_not_pooled_with_people(self, foxes):
        """Neither in a ranking, unless that is asked for, nor in the number of votes that a person has left."""
        loop.run(add_vote(api.ledger(), Vote(foxes[0].id, foxes[1].id, foxes[1].id)))
        judge = loop.run(ranking.judged(foxes, lambda left, right: max(left, right, key=lambda each: each.id), rater="gpt-x"))
        assert judge.votes == 6
        assert loop.run(ranking.rank(foxes)).votes == 1
        assert loop.run(ranking.rank(foxes, judges=True)).votes == 7

    def test_another_image_is_refused(self, foxes):
        """In both orders, too; nothing is stored."""
        with pytest.raises(ValueError, match="cannot win"):
            loop.run(ranking.judged(foxes[1:], lambda left, right: foxes[0], both_ways=True, rater="gpt-x"))
        assert stored(foxes) == []


class TestAgreement:
    """What stands below the effects of several raters."""

    def votes(self, shared, *, swapped=0, opposite=False):
        """Return the votes of a rater on shared pairs, of which the lower id wins, or the higher one; some pairs come again."""
        pairs = [(number, number + 100) for number in range(shared)]
        chosen = [Vote(low, high, high if opposite else low) for low, high in pairs]
        return chosen + [Vote(high, low, high) for low, high in pairs[:swapped]]

    def test_alpha_has_its_count_and_needs_twenty_shared_pairs(self):
        """Also where all prefer the picture with the lower id, agreement is perfect; opposite choices are below chance."""
        assert next(raters.rater_notes({"Ada": self.votes(20), "Bob": self.votes(25)})) == (
            "Agreement with each other: Krippendorff's alpha is 1.00 on 20 pairs that all raters saw (1: perfect, 0: chance)."
        )
        (few, _) = raters.rater_notes({"Ada": self.votes(19), "Bob": self.votes(25)})
        assert few == "Agreement with each other is shown from 20 pairs on that all raters saw; so far: 19."
        (opposite, _) = raters.rater_notes({"Ada": self.votes(20), "Bob": self.votes(20, opposite=True)})
        assert "alpha is -" in opposite

    def test_repeated_pairs_and_the_left_side(self):
        """A repeated pair with the same picture chosen is the same choice, on whichever side it was."""
        notes = list(raters.rater_notes({"Ada": self.votes(4, swapped=4, opposite=True), "": self.votes(4, swapped=1)}))
        assert notes[1:] == [
            "The same choice when a pair was repeated: Ada 4 of 4, without a name 0 of 1.",
            "The left picture was chosen: Ada 50 %, without a name 100 %.",
        ]

    def test_a_judge_is_compared_with_most_people(self):
        """That note comes first in the judge's score."""
        people = [*self.votes(20), *self.votes(20), *self.votes(20, opposite=True)]
        judge = [Vote(vote.left, vote.right, vote.winner, rater="gpt-x", kind=JUDGE) for vote in self.votes(20)]
        (note,) = raters.agreement_with_people(raters.by_rater(judge), people)
        assert note.startswith("Agreement with people: Krippendorff's alpha is 1.00 on 20 pairs")
        assert list(raters.agreement_with_people(raters.by_rater(people), people)) == []


def test_the_effects_of_a_sweep_hold_for_other_raters():
    """Two raters widen the interval; a judge is another score, and both together are one only by name."""
    generator = random.Random(3)
    with a_shell() as shell:
        shell.run(
            "%%imagegen --sandbox -p evolink --size 1:1 -q low --sweep style=oil|ink --sweep subject=fox|owl -n 2 --yes -o sweep\n"
            "a {{style}} {{subject}}"
        )
        sweep, ledger = shell.variables["sweep"], api.ledger()
        matched = [(left, right) for left in sweep for right in sweep if left.id < right.id]

        def vote(rater, kind, likes):
            for left, right in matched:
                liked = [one for one in (left, right) if sweep.place(one)["style"] == likes]
                winner = liked[0] if len(liked) == 1 and generator.random() < 0.9 else generator.choice((left, right))
                loop.run(add_vote(ledger, Vote(left.id, right.id, winner.id, rater=rater, kind=kind), sweep.study))

        def error(score):
            (one,) = [one for one in sweep.effects(score)[score].comparisons if one.axis == "style"]
            return one.standard_error

        vote("Ada", PERSON, "oil")
        alone = sweep.effects("votes")["votes"]
        assert "One rater: this holds for that rater." in alone.notes
        vote("Bob", PERSON, "ink")
        vote("gpt-x", JUDGE, "oil")
        both = sweep.effects()
        assert [score.name for score in both.scores] == ["votes", "votes gpt-x"]
        assert "2 raters: this estimates the effect for other raters too." in both["votes"].notes
        assert any("alpha" in note and "28 pairs" in note for note in both["votes"].notes)
        assert both["votes gpt-x"].notes[0] != both["votes"].notes[0]
        assert any(note.startswith("Agreement with people") for note in both["votes gpt-x"].notes)
        assert error("votes") > 3 * error("votes gpt-x")
        assert len(sweep.effects("votes+judges").scores) == 1
        assert sweep.effects("votes", against={"style": "ink"})["votes"].comparisons[0].standard_error == pytest.approx(error("votes"))
        sweep.effects("votes", by="subject")
