"""Raters: whose vote it is, what a judge's votes count for, how far raters agree, and the ballots of those without a notebook."""

import base64
import io
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from ledgers import saved, swept
from PIL import Image
from shells import a_shell

from imagegen_magic import score, scorer
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.votes import JUDGE, PERSON, Vote, add_vote, delete_vote, rater_name, votes_between
from imagegen_magic.notebook.arguments.parser import fits
from imagegen_magic.notebook.subcommands import command_for
from imagegen_magic.studies import ranking
from imagegen_magic.studies.ballots.plan import plan
from imagegen_magic.studies.effects import families, raters


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

    def test_a_judge_of_the_generators_family_is_named(self):
        """A line below its score, of votes and of a scorer; none for another family, and none for people."""
        study = swept("a {{style}} fox", {"style": ["oil", "ink"]}, repeat=2, model="gpt-image-2")
        for rater in ("gpt-4.1-mini", "claude-opus-5"):
            loop.run(ranking.judged(study, lambda left, right: max(left, right, key=lambda each: each.id), rater=rater))
        loop.run(add_vote(api.ledger(), Vote(study[0].id, study[1].id, study[1].id)))
        loop.run(score(study, scorer(name="shows", version="gpt-4.1-mini 1", kind="judge")(lambda image: image.id % 2)))
        found = study.effects("votes", "shows", "seconds")
        ending = "and the generator gpt-image-2 are both of OpenAI: it may prefer pictures of its own family."
        lines = {each.name: [note for note in each.notes if "family" in note] for each in found.scores}
        assert lines == {
            "votes": [],
            "votes gpt-4.1-mini": [f"The judge gpt-4.1-mini {ending}"],
            "votes claude-opus-5": [],
            "shows": [f"The judge shows gpt-4.1-mini 1 {ending}"],
            "seconds": [],
        }
        assert f"The judge gpt-4.1-mini {ending}" in str(found)
        assert [families.family_of(name) for name in ("openai/o3", "models/gemini-3", "flux.2", "wanderer", "no1")] == [
            *("OpenAI", "Google", "Black Forest Labs", "", "")
        ]

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
            (one,) = [one for one in score.comparisons if one.axis == "style"]
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
        assert error(both["votes"]) > 3 * error(both["votes gpt-x"])
        assert len(sweep.effects("votes+judges").scores) == 1
        assert error(sweep.effects("votes", against={"style": "ink"})["votes"]) == pytest.approx(error(both["votes"]))
        assert len(sweep.effects("votes", by="subject")["votes"].comparisons) == 2


PAGE = re.compile(r'<script type="application/json" id="ballot">(.*?)</script>')


def values_of(file):
    """Return what the page of a ballot holds as data."""
    return json.loads(PAGE.search(Path(file).read_text(encoding="utf-8"))[1])


def result_of(file, *, rater="Ada", choice="left", **changes):
    """Return the result of a ballot on which all choices are the same."""
    page = values_of(file)
    votes = [{"pair": number, "left": left, "right": right, "choice": choice} for number, (left, right) in enumerate(page["pairs"])]
    return {"format": page["format"], "ballot": page["ballot"], "rater": rater, "votes": votes, **changes}


def write(name, result):
    """Write a result file."""
    Path(name).write_text(json.dumps(result), encoding="utf-8")


CHANGES = [
    ({"ballot": "0" * 32}, "its ballot is not one of this ledger"),
    ({"ballot": None}, "its ballot is not one of this ledger"),
    ({"format": "other"}, "it is no result of a ballot"),
    ({"rater": 3}, "it has no rater or no votes"),
    ({"votes": {}}, "it has no rater or no votes"),
    ({"votes": [3]}, "a pair that the ballot does not have"),
    ({"votes": [{"pair": 99}]}, "a pair that the ballot does not have"),
    ({"votes": [{"pair": True}]}, "a pair that the ballot does not have"),
    ({"token": "0" * 16}, "the pictures of pair 1 are not those of the ballot"),
    ({"choice": "both"}, "the choice on pair 1 is not one of left, right, tie"),
    ({"choice": ["left"]}, "the choice on pair 1 is not one of left, right, tie"),
    ({"twice": True}, "it has two votes on the same pair"),
]


def changed(result, *, token=None, choice=None, twice=False, **fields):
    """Return a result with one thing changed."""
    first = result["votes"][0]
    first |= {"left": token} if token else {}
    first |= {"choice": choice} if choice else {}
    return {**result, "votes": [*result["votes"], first] if twice else result["votes"], **fields}


REFUSALS = [
    ("ballot foxes page.html --raters 2", r"page-1.html exists already: give another name\. Nothing was written\."),
    ("ballot foxes page.txt", r"A ballot is an HTML file: write page\.txt\.html"),
    ("ballot foxes no/page.html", "There is no folder"),
    ("ballot foxs other.html", "There is no variable foxs"),
    ("ballot foxes other.html --raters 0", "--raters takes a number from 1 to 50, not 0"),
    ("ballot foxes other.html --pairs many", "--pairs takes a number from 2 to 400, not many"),
]


class TestThePairs:
    """20 shared ones, own ones, and 4 again."""

    def test_pairs_are_shared_own_and_repeated(self):
        """All differ in tokens, order and sides; a repeated pair has its sides swapped and comes in the second half."""
        known = {number: {"style": "abc"[number % 3], "subject": "wxyz"[number // 3 % 4]} for number in range(24)}
        ballots = plan(list(known), known, 7, 3, 40, random.Random(1))
        orders = [[(each.tokens[left], each.tokens[right]) for left, right in each.pairs] for each in ballots]
        sets = [Counter(map(frozenset, order)) for order in orders]
        assert [len(order) for order in orders] == [44] * 3
        assert [len(pairs) for pairs in sets] == [40] * 3
        assert len(sets[0].keys() & sets[1].keys() & sets[2].keys()) >= 20
        assert len(sets[0].keys() | sets[1].keys() | sets[2].keys()) > 60
        assert len({tuple(order) for order in orders}) == 3
        for order, pairs in zip(orders, sets, strict=True):
            for pair in (pair for pair, count in pairs.items() if count == 2):
                first, second = [number for number, each in enumerate(order) if frozenset(each) == pair]
                assert order[first] == order[second][::-1]
                assert first < 20 <= second
        assert not {*ballots[0].tokens} & {*ballots[1].tokens}
        matched = ranking.matched_pairs(list(known), known)
        assert sum(tuple(sorted(pair)) in matched for pair in sets[0]) >= 30

    def test_few_pictures_have_fewer_pairs(self):
        """Each pair once, and some again."""
        (one,) = plan([1, 2, 3], {}, 0, 1, 40)
        assert len({frozenset(pair) for pair in one.pairs}) == 3
        assert len(one.pairs) == 4


class TestBallots:
    """`%imagegen ballot` and `votes`."""

    @pytest.fixture
    def shell(self, foxes):
        """A shell whose `foxes` have two ballots."""
        with a_shell() as shell:
            shell.shell.user_ns["foxes"] = foxes
            shell.run("%imagegen ballot foxes page.html --raters 2")
            yield shell

    def test_the_page_has_pictures_and_random_tokens_alone(self, shell, foxes):
        """No prompt, id, path, file name or metadata, and no address; the pictures are encoded again."""
        assert "page-1.html to page-2.html: 9 pairs each" in shell.shown()[-1]
        text, page = Path("page-1.html").read_text(encoding="utf-8"), values_of("page-1.html")
        for secret in ("secret", "fox", "page-1", str(Path.cwd()), "imagegen/", "http:", "https:", "gpt", "evolink"):
            assert secret not in text.replace("imagegen ballot 1", "").replace("imagegen-ballot-", "")
        assert set(page) == {"format", "ballot", "pairs", "pictures"}
        assert "default-src 'none'" in text
        for address in page["pictures"].values():
            data = base64.b64decode(address.partition(",")[2])
            image = Image.open(io.BytesIO(data))
            assert not {"xmp", "exif", "comment", "parameters", "prompt"} & {key.lower() for key in image.info}
            assert not any(word in data for word in (b"secret", b"xmp", b"XMP", b"Exif"))
        assert not set(map(len, page["pictures"])) - {16}

    def test_votes_are_taken_in_once(self, shell, foxes):
        """A part first, then all, then all again; a later choice on the same pair changes nothing."""
        whole = result_of("page-1.html", rater="  Ada <script>alert(1)</script> ")
        write("part.json", {**whole, "votes": whole["votes"][:4], "rater": ""})
        write("ada.json", whole)
        write("bob.json", result_of("page-2.html", rater="Bob", choice="tie"))
        shell.run("%imagegen votes ada.json bob.json")
        assert [line for line in shell.shown()[-1].splitlines() if line] == [
            "ada.json: 9 votes of Ada <script>alert(1)</script>, 9 new.",
            "bob.json: 9 votes of Bob, 9 new.",
        ]
        assert "<script>" not in shell.shown("text/html")[-1]
        assert Counter(vote.rater for vote in stored(foxes)) == {"Ada <script>alert(1)</script>": 9, "Bob": 9}
        shell.run("%imagegen votes ada.json part.json")
        assert [line.rpartition(", ")[2] for line in shell.shown()[-1].splitlines() if line] == ["0 new.", "0 new."]
        write("ada.json", result_of("page-1.html", choice="right"))
        shell.run("%imagegen votes ada.json")
        assert "0 new, 9 differ from a vote that was taken in before, which stays." in shell.shown()[-1]
        assert len(stored(foxes)) == 18
        tokens = values_of("page-1.html")
        assert {vote.winner for vote in stored(foxes) if vote.rater == "Bob"} == {None}
        assert [vote.winner for vote in stored(foxes)[:9]] == [vote.left for vote in stored(foxes)[:9]]
        assert len(tokens["pictures"]) == 4

    def test_the_rater_of_a_ballot_stays_the_same(self, shell, foxes):
        """One who gave no name at first keeps the name of the ballot, so that one rater is not counted as two."""
        whole = result_of("page-1.html", rater="Ada")
        write("a.json", {**whole, "votes": whole["votes"][:4], "rater": " "})
        write("b.json", whole)
        shell.run("%imagegen votes a.json")
        shell.run("%imagegen votes b.json")
        (name,) = {vote.rater for vote in stored(foxes)}
        assert re.fullmatch("rater [0-9a-f]{6}", name)
        assert len(stored(foxes)) == 9

    def test_a_foreign_or_changed_file_is_refused(self, shell, foxes):
        """Nothing of any file is stored then."""
        write("good.json", result_of("page-1.html"))
        for change, why in CHANGES:
            write("bad.json", changed(result_of("page-2.html"), **change))
            with pytest.raises(UsageError, match=rf"bad.json is refused: .*{re.escape(why)}.* No vote was taken in\."):
                shell.run("%imagegen votes good.json bad.json")
        assert stored(foxes) == []

    def test_what_is_no_result_is_refused(self, shell, foxes):
        """A large file, one that is not JSON, none at all."""
        contents = (b"x" * 1_000_001, "larger than 1 MB"), (b"\xff\xfe", "no result"), (b"[" * 100_000, "no result"), (b"[]", "no result")
        for content, why in contents:
            Path("odd.json").write_bytes(content)
            with pytest.raises(UsageError, match=why):
                shell.run("%imagegen votes odd.json")
        with pytest.raises(UsageError, match=r"none.json cannot be read: No such file"):
            shell.run("%imagegen votes none.json")

    def test_votes_on_deleted_pictures_are_left_out(self, shell, foxes):
        """The others count."""
        write("ada.json", result_of("page-1.html"))
        shell.run(f"%imagegen delete {foxes[0].id} --yes")
        shell.run("%imagegen votes ada.json")
        assert re.search(r"ada.json: 9 votes of Ada, \d new, \d on deleted pictures left out\.", shell.shown()[-1])
        assert not [vote for vote in stored(foxes) if foxes[0].id in (vote.left, vote.right)]

    def test_refusals(self, shell):
        """Nothing is overwritten, and no file is left behind."""
        before = sorted(Path().glob("*.html"))
        for words, message in REFUSALS:
            with pytest.raises(UsageError, match=message):
                shell.run(f"%imagegen {words}")
        assert sorted(Path().glob("*.html")) == before

    @pytest.mark.parametrize("words", ["ballot box", "ballot box in a museum", "votes for women", "votes being counted at night"])
    def test_a_prompt_that_begins_like_them_is_a_prompt(self, words):
        """They are subcommands with a variable or a file among their words."""
        ballot, votes = command_for("ballot"), command_for("votes")
        name, _, rest = words.partition(" ")
        assert not fits(command_for(name), rest, {"foxes"})
        assert fits(ballot, "foxes page.html", {"foxes"})
        assert fits(ballot, "foxs page.html --raters 3", {"foxes"})
        assert fits(votes, "ada.json bob.txt")
        assert fits(votes, "ada")
