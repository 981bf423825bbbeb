"""Votes and rankings: every pair is shown, known strengths are recovered, intervals cover, and no vote is lost."""

import math
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError
from ledgers import saved
from shells import a_shell

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.sweeps import combinations_of
from imagegen_magic.engine.ledger.votes import Vote, add_vote, delete_vote, votes_between
from imagegen_magic.notebook.commands import vote as vote_command
from imagegen_magic.studies import ranking as ranking_module


def beats(truth, one, other, generator):
    """Return at random whether one wins, by strengths on the scale of log odds."""
    return generator.random() < 1 / (1 + math.exp(truth[other] - truth[one]))


def voted(truth, count, generator):
    """Return that many votes between pictures of these true strengths, in the order in which pairs are shown."""
    votes = []
    for _ in range(count):
        one, other = ranking_module.next_pair(list(truth), votes, generator)
        votes.append(Vote(one, other, one if beats(truth, one, other, generator) else other))
    return votes


class TestTheNextPair:
    """Balanced, closest first, on either side."""

    @pytest.mark.parametrize("pictures", [2, 3, 5, 8])
    def test_every_pair_once_before_any_twice(self, pictures):
        """As many votes as are enough for a few pictures are each pair once."""
        votes = voted(dict.fromkeys(range(pictures), 0.0), ranking_module.votes_needed(pictures), random.Random(pictures))
        assert set(Counter(frozenset((vote.left, vote.right)) for vote in votes).values()) == {1}
        assert len(votes) == pictures * (pictures - 1) // 2

    @given(st.integers(2, 40), st.integers(0, 100))
    def test_each_picture_is_seen_as_often_as_the_others(self, pictures, seed):
        """At any time the numbers of views differ by at most two."""
        votes = voted(dict.fromkeys(range(pictures), 0.0), ranking_module.votes_needed(pictures), random.Random(seed))
        for end in range(1, len(votes)):
            seen = Counter(each for vote in votes[:end] for each in (vote.left, vote.right))
            assert max(seen.values()) - min(seen[number] for number in range(pictures)) <= 2

    def test_the_side_is_random(self):
        """An image is on the left about as often as on the right."""
        generator = random.Random(1)
        left = sum(ranking_module.next_pair([1, 2], [], generator)[0] == 1 for _ in range(1000))
        assert 400 < left < 600

    def test_closest_first(self):
        """Among equally new partners, the one with the closest share of wins is shown."""
        votes = [Vote(1, 2, 1), Vote(3, 4, 3), Vote(5, 6, 5)]
        for seed in range(20):
            pair = ranking_module.next_pair([1, 2, 3, 4, 5, 6], votes, random.Random(seed))
            assert set(pair) <= {1, 3, 5} or set(pair) <= {2, 4, 6}

    def test_many_pictures_need_not_all_meet(self):
        """Seven views of each are enough."""
        assert [ranking_module.votes_needed(pictures) for pictures in (2, 8, 9, 100)] == [1, 28, 32, 350]


class TestTheRanking:
    """Bradley-Terry, against what is known of it and against truth."""

    def test_two_pictures(self):
        """Three wins of four are odds of almost three to one; the prior shrinks them a little."""
        votes = [Vote(1, 2, 1)] * 300 + [Vote(1, 2, 2)] * 100
        first, second = ranking_module.ranking([1, 2], votes).pictures
        assert (first.picture, second.picture) == (1, 2)
        assert first.strength - second.strength == pytest.approx(math.log(3), abs=0.01)
        # the information of 400 games at odds of 3 to 1, for half the difference
        assert first.high - first.strength == pytest.approx(1.96 * math.sqrt(1 / (400 * 0.75 * 0.25)) / 2, rel=0.01)

    def test_known_strengths_are_found_again(self):
        """With many votes the estimates are as close to the truth as their intervals."""
        truth = {1: 1.2, 2: 0.4, 3: -0.1, 4: -0.5, 5: -1.0}
        generator = random.Random(7)
        pairs = [(one, other) for one in truth for other in truth if one < other] * 400
        votes = [Vote(one, other, one if beats(truth, one, other, generator) else other) for one, other in pairs]
        ranking = ranking_module.ranking(list(truth), votes)
        assert [one.picture for one in ranking.pictures] == [1, 2, 3, 4, 5]
        for one in ranking.pictures:
            assert one.strength == pytest.approx(truth[one.picture], abs=0.15)

    @pytest.mark.slow
    def test_intervals_cover_what_they_promise(self):
        """Over many simulated votes, 95 % of the intervals contain the truth (within the error of 600 intervals)."""
        generator = random.Random(11)
        held = []
        for _ in range(100):
            raw = [generator.gauss(0, 1) for _ in range(6)]
            truth = {number: each - sum(raw) / 6 for number, each in enumerate(raw)}
            ranking = ranking_module.ranking(list(truth), voted(truth, 60, generator))
            held += [one.low <= truth[one.picture] <= one.high for one in ranking.pictures]
        assert 0.93 < sum(held) / len(held) < 0.98

    @pytest.mark.slow
    def test_axis_intervals_cover_too(self):
        """The mean of a value's images is covered as often."""
        generator, held = random.Random(5), []
        places = {number: {"style": "ab"[number % 2]} for number in range(6)}
        for _ in range(75):
            raw = [generator.gauss(0, 1) for _ in range(6)]
            truth = {number: each - sum(raw) / 6 for number, each in enumerate(raw)}
            ranking = ranking_module.ranking(list(truth), voted(truth, 60, generator), places)
            means = {value: sum(truth[number] for number in range(6) if places[number]["style"] == value) / 3 for value in "ab"}
            held += [one.low <= means[one.name] <= one.high for one in ranking.axes["style"]]
        assert 0.91 < sum(held) / len(held) < 0.99

    def test_always_winning_is_finite(self):
        """An image that won every time has a strength and an interval; one that was never shown has the widest."""
        first, middle, last = ranking_module.ranking([1, 2, 3], [Vote(1, 2, 1)] * 50).pictures
        assert [one.picture for one in (first, middle, last)] == [1, 3, 2]
        assert all(math.isfinite(value) for one in (first, middle, last) for value in (one.strength, one.low, one.high))
        assert middle.high - middle.low > first.high - first.low

    def test_ties_are_half_for_each(self):
        """With ties only, all strengths are equal, and the counts show why."""
        one, other = ranking_module.ranking([1, 2], [Vote(1, 2, None)] * 10).pictures
        assert one.strength == pytest.approx(other.strength, abs=1e-9)
        assert (one.won, one.tied, one.lost) == (0, 10, 0)

    def test_values_of_an_axis_are_ranked(self):
        """Each value by the mean of its images, with its votes against other values; an axis of one value is left out."""
        places = {1: {"style": "oil", "quality": "low"}, 2: {"style": "oil", "quality": "low"}, 3: {"style": "ink", "quality": "low"}}
        ranking = ranking_module.ranking([1, 2, 3], [Vote(1, 3, 1), Vote(2, 3, 2), Vote(1, 2, 1)], places)
        assert list(ranking.axes) == ["style"]
        oil, ink = ranking.axes["style"]
        assert (oil.name, oil.won, oil.lost, ink.name, ink.won, ink.lost) == ("oil", 2, 0, "ink", 0, 2)
        mean = sum(one.strength for one in ranking.pictures if one.picture in (1, 2)) / 2
        assert oil.strength == pytest.approx(mean)

    def test_a_vote_on_another_image_is_refused(self):
        """It would be ignored silently otherwise."""
        with pytest.raises(ValueError, match="between 1 and 9"):
            ranking_module.ranking([1, 2], [Vote(1, 9, 1)])

    @given(
        st.integers(2, 7).flatmap(
            lambda count: st.tuples(
                st.just(count),
                st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1), st.sampled_from("abt")), max_size=40),
            )
        )
    )
    def test_any_votes_give_a_ranking(self, drawn):
        """Any votes: finite, centred, within its interval, a maximum, and mirrored if every vote is reversed."""
        count, raw = drawn
        votes = [Vote(one, other, {"a": one, "b": other, "t": None}[who]) for one, other, who in raw if one != other]
        ranking = ranking_module.ranking(range(count), votes)
        assert sum(one.strength for one in ranking.pictures) == pytest.approx(0, abs=1e-6)
        for one in ranking.pictures:
            assert one.low < one.strength < one.high
            low, middle, high = (one.win_probability[1], one.win_probability[0], one.win_probability[2])
            assert 0 < low < middle < high < 1
        turned = [Vote(v.left, v.right, None if v.winner is None else v.left + v.right - v.winner) for v in votes]
        mirrored = {one.picture: -one.strength for one in ranking_module.ranking(range(count), turned).pictures}
        assert {one.picture: one.strength for one in ranking.pictures} == pytest.approx(mirrored, abs=1e-5)


@pytest.fixture
def pictures():
    """Four pictures in the ledger."""
    return saved(count=4)


def test_votes_are_stored_and_deleted(pictures):
    """A stored vote is found among these images only; a deleted one is not."""
    ledger, ids = api.ledger(), [image.id for image in pictures]
    first = loop.run(add_vote(ledger, Vote(ids[0], ids[1], ids[1])))
    tie = loop.run(add_vote(ledger, Vote(ids[2], ids[3], None)))
    assert loop.run(votes_between(ledger, ids)) == [first, tie]
    assert loop.run(votes_between(ledger, ids[:2])) == [first]
    loop.run(delete_vote(ledger, first))
    assert loop.run(votes_between(ledger, ids)) == [tie]


@pytest.mark.parametrize("vote", [Vote(1, 1, 1), Vote(1, 2, 3)])
def test_impossible_votes_are_refused(pictures, vote):
    """Neither against itself, nor for a third image."""
    with pytest.raises(ValueError, match="cannot win"):
        loop.run(add_vote(api.ledger(), vote))


def test_ranking_from_python(pictures):
    """`rank` returns the ranking of images from all votes between them."""
    ledger, ids = api.ledger(), [image.id for image in pictures]
    for loser in ids[1:]:
        loop.run(add_vote(ledger, Vote(ids[0], loser, ids[0])))
    ranking = loop.run(ranking_module.rank(pictures))
    assert (ranking.pictures[0].picture, ranking.votes, ranking.axes) == (ids[0], 3, {})


def test_a_function_gives_the_missing_votes(pictures):
    """A function chooses between the remaining pairs; each vote is stored, and earlier votes stay."""
    ledger, ids = api.ledger(), [image.id for image in pictures]
    before = loop.run(add_vote(ledger, Vote(ids[0], ids[1], ids[0])))
    seen = []

    def later(left, right):
        seen.append((left.id, right.id))
        return None if {left.id, right.id} == set(ids[:2]) else max(left, right, key=lambda image: image.id)

    ranking = loop.run(ranking_module.judged(pictures, later))
    assert [one.picture for one in ranking.pictures][:2] == [ids[3], ids[2]]
    kept = loop.run(votes_between(ledger, ids))
    assert kept[0] == before
    assert [(vote.left, vote.right) for vote in kept[1:]] == seen
    assert ranking.votes == len(kept) == ranking_module.votes_needed(4)
    assert loop.run(ranking_module.judged(pictures, later)) == ranking
    assert len(seen) == ranking_module.votes_needed(4) - 1


def test_a_function_may_tie_or_choose_one_of_the_two(pictures):
    """None is a tie; another image is refused and not stored."""
    tied = loop.run(ranking_module.judged(pictures[:2], lambda left, right: None))
    assert [(one.won, one.tied) for one in tied.pictures] == [(0, 1), (0, 1)]
    with pytest.raises(ValueError, match="cannot win"):
        loop.run(ranking_module.judged(pictures[1:], lambda left, right: pictures[0]))
    assert loop.run(votes_between(api.ledger(), [image.id for image in pictures[1:]])) == []


def test_a_vote_on_a_sweep_ranks_its_axes(capsys):
    """Images have their combinations as names, and each value of each axis has a row."""
    with a_shell() as shell:
        shell.run("%%imagegen --sandbox -p evolink --size 1:1 -q low --sweep style=oil|ink --yes -o sweep\na {{style}} fox")
        one, other = [image.id for image in shell.variables["sweep"]]
        loop.run(add_vote(api.ledger(), Vote(one, other, other), shell.variables["sweep"].study))
        capsys.readouterr()
        shell.run("%imagegen vote sweep")
    printed = capsys.readouterr().out.splitlines()
    places = [line.split("style=")[1].split()[0] for line in printed if "style=" in line]
    values = [line.split()[0] for line in printed if line.split()[:1] in (["oil"], ["ink"])]
    assert places == values == ["ink", "oil"]


def test_values_of_an_axis_have_no_interval():
    """Their means are of these very images, as the heading shows; an interval would suggest an effect."""
    found = ranking_module.ranking([1, 2], [Vote(1, 2, 1)], {1: {"style": "oil"}, 2: {"style": "ink"}})
    tables = vote_command.page(found, lambda item: item.name)
    text, html = str(tables), tables.html()
    assert text.count("style in these pictures") == html.count("style in these pictures") == 1
    for page in (text, html):
        of_pictures, of_values = page.split("style in these pictures")
        assert "95 %" in of_pictures
        assert "oil" in of_values
        assert not re.search("95 %|–|#1976d2", of_values)  # neither bounds nor the bar between them


def test_combinations_of_a_sweep(pictures):
    """The sweep of images and the value of each axis come from the ledger."""
    ledger, ids = api.ledger(), [image.id for image in pictures]

    def a_study(connection):
        study = connection.execute("INSERT INTO studies (created, prompt, axes) VALUES ('', '', '{}')").lastrowid
        for number in ids:
            task = connection.execute("SELECT task FROM pictures WHERE id = ?", (number,)).fetchone()["task"]
            place = '{"style": "%s"}' % ("oil" if number == ids[0] else "ink")
            connection.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", (study, task, place))
        return study

    study = loop.run(ledger.run(a_study))
    found, places = loop.run(combinations_of(ledger, ids))
    assert found == study
    assert {value for place in places.values() for value in place.values()} <= {"oil", "ink"}
    assert set(places) == set(ids)


class TestTheCommand:
    """`%imagegen vote` where there is no page to vote on."""

    @pytest.fixture
    def shell(self):
        """A shell whose `foxes` are four pictures."""
        with a_shell() as shell:
            shell.shell.user_ns["foxes"] = shell.shell.user_ns["_imagegen"] = saved("a red fox <i>here</i>", count=4)
            yield shell

    def test_without_votes_it_shows_the_next_step(self, shell, capsys):
        """In a terminal: what to do, and no traceback."""
        capsys.readouterr()
        shell.run("%imagegen vote foxes")
        assert (
            "There is no vote on foxes yet. To vote, open the notebook in Jupyter and run %imagegen vote foxes" in capsys.readouterr().out
        )

    def test_with_votes_it_shows_the_ranking(self, shell, capsys):
        """The table as text, with intervals and the number of votes."""
        ids = [image.id for image in shell.variables["foxes"]]
        loop.run(add_vote(api.ledger(), Vote(ids[0], ids[1], ids[1])))
        capsys.readouterr()
        shell.run("%imagegen vote")
        printed = capsys.readouterr().out
        assert "Ranking of 4 pictures by 1 vote" in printed
        assert f"@{ids[1]}" in printed
        assert "1 of the 6 votes for a good ranking. To vote, open the notebook" in printed

    @pytest.mark.parametrize(
        ("code", "words"), [("nothing", "no variable nothing"), ("one", "needs at least two"), ("many", "at most 200")]
    )
    def test_refusals(self, shell, code, words):
        """An invalid name, one image, too many."""
        from dataclasses import replace

        foxes = shell.variables["foxes"]
        shell.shell.user_ns["one"] = foxes[0]
        shell.shell.user_ns["many"] = [replace(foxes[0], id=number) for number in range(1, 202)]
        with pytest.raises(UsageError, match=words):
            shell.run(f"%imagegen vote {code}")


class Driver:
    """A vote in a real kernel, driven as a page drives it."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.cell = kernel.run("%imagegen vote foxes")
        assert self.cell.status == "ok", self.cell.text
        (self.model,) = [key for key, state in kernel.models.items() if str(state.get("_anywidget_id", "")).endswith(".VoteWidget")]

    def __getattr__(self, name):
        return self.kernel.models[self.model][name]

    def send(self, event, pair=None):
        """Send an event about a pair (default: the one that is shown)."""
        content = {"event": event, "pair": self.pair if pair is None else pair}
        self.kernel._send(
            "comm_msg", {"comm_id": self.model, "data": {"method": "custom", "content": content}}, subshell=self.kernel.subshell
        )

    def becomes(self, given, what):
        """Wait until so many votes are given."""
        self.kernel.until(lambda: self.given == given, what)


@pytest.fixture(scope="module")
def kernel(kernels, tmp_path_factory):
    """One kernel with the extension loaded."""
    with kernels.kernel(tmp_path_factory.mktemp("vote")) as running:
        running.run("%load_ext imagegen_magic\nimport os, sqlite3\nfrom ledgers import saved")
        running.subshell = running.open_subshell()
        yield running


@pytest.fixture
def driver(kernel):
    """A vote on three new pictures."""
    kernel.run("foxes = saved('a red fox', count=3)")
    yield Driver(kernel)
    kernel.run("import ipywidgets\nipywidgets.Widget.close_all()")
    kernel.until(lambda: not kernel.models, "the widgets to be closed")


class TestVotePage:
    """An event of a page is stored once; a repeated, late or invalid one is not."""

    def test_votes_undo_and_the_end(self, kernel, driver):
        """Each pair is shown once; the last vote shows the ranking in the same cell, and no widget is left."""
        assert (driver.given, driver.goal, driver.enough, driver.undoable) == (0, 3, False, False)
        assert driver.left.startswith("data:image/")
        assert driver.left != driver.right
        driver.send("left")
        driver.becomes(1, "the vote")
        assert driver.undoable
        shown = (driver.left, driver.right)
        driver.send("tie")
        driver.becomes(2, "the tie")
        driver.send("undo")
        driver.becomes(1, "the step back")
        assert (driver.left, driver.right) == shown
        for count in (2, 3):
            driver.send("right")
            driver.becomes(count, "the vote")
        assert driver.enough
        driver.send("left")  # there is no pair to choose from
        driver.send("done")
        kernel.until(lambda: not kernel.models, "the widget to be closed")
        assert "Ranking of 3 pictures by 3 votes" in driver.cell.text
        assert "imagegen-ranking" in driver.cell.of("text/html")[0]
        again = kernel.run("%imagegen vote foxes")
        assert "Ranking of 3 pictures by 3 votes" in again.text
        assert not kernel.models

    def test_a_pair_is_voted_once(self, kernel, driver):
        """A key pressed twice, or in a second page, counts once; other messages count nothing."""
        pair = driver.pair
        for event in ("left", "left", "right"):
            driver.send(event, pair)
        driver.send("nonsense")
        driver.send("left", "one")
        driver.becomes(1, "the vote")
        driver.send("undo")
        driver.becomes(0, "the step back")
        driver.send("undo")
        kernel.run("pass")
        assert (driver.given, driver.undoable) == (0, False)

    def test_done_without_a_vote(self, kernel, driver):
        """A line reports that there was no vote."""
        driver.send("done")
        kernel.until(lambda: not kernel.models, "the widget to be closed")
        assert "There is no vote on foxes yet. Run the cell to vote." in driver.cell.text
        assert "Each vote is saved" not in driver.cell.text

    def test_an_error_is_shown_on_the_page(self, kernel, driver):
        """If the ledger cannot store a vote, the message is shown, the pair stays, and the next press may work."""
        kernel.run(
            "ledger = sqlite3.connect(os.environ['IMAGEGEN_HOME'] + '/ledger.sqlite')\n"
            "ledger.execute(\"CREATE TRIGGER no BEFORE INSERT ON votes BEGIN SELECT raise(ABORT, 'the disk is full'); END\")"
        )
        pair = driver.pair
        driver.send("left")
        kernel.until(lambda: "the disk is full" in driver.error, "the words")
        assert (driver.pair, driver.given) == (pair, 0)
        kernel.run("ledger.execute('DROP TRIGGER no'); ledger.close()")
        driver.send("left")
        driver.becomes(1, "the vote")
        assert driver.error == ""

    def test_a_programming_error_is_shown_too(self, kernel, driver):
        """An exception in the background would be lost."""
        kernel.run(
            "from imagegen_magic.studies import ranking as ranking_module\nkept = ranking_module.next_pair\nranking_module.next_pair = None"
        )
        driver.send("left")
        kernel.until(lambda: "The vote itself failed: TypeError" in driver.error, "the words")
        kernel.run("ranking_module.next_pair = kept")

    def test_a_vote_counts_once_if_the_next_pair_fails(self, kernel, driver):
        """The pair stays on the page; another press shows the next pair and counts no second vote."""
        kernel.run(
            "from imagegen_magic.studies import ranking as ranking_module\nkept = ranking_module.next_pair\nranking_module.next_pair = None"
        )
        pair, shown = driver.pair, {driver.left, driver.right}
        for _ in range(2):
            driver.send("left", pair)
            kernel.until(lambda: "The vote itself failed" in driver.error, "the words")
        kernel.run("ranking_module.next_pair = kept")
        driver.send("right", pair)
        kernel.until(lambda: driver.pair != pair, "the next pair")
        assert ({driver.left, driver.right} != shown, driver.given, driver.error) == (True, 1, "")
        driver.send("undo")
        driver.becomes(0, "the step back")
        assert {driver.left, driver.right} == shown
