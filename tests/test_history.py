"""The history: search by words, model, time, stars and tags, and annotations of images."""

import random
import string
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError
from ledgers import saved
from shells import a_shell

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger import annotations
from imagegen_magic.engine.ledger import history as stored
from imagegen_magic.engine.ledger.annotations import Annotation
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.panel.gallery import ImageStore
from imagegen_magic.studies.history import search


def found(words="", **filters):
    """Return the prompts that a search finds, newest first."""
    return [entry.picture.asked["prompt"] for entry in loop.run(search.search(api.ledger(), words, **filters))]


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


class TestWords:
    """What people type is words, never a language of its own."""

    @pytest.fixture(autouse=True)
    def pictures(self):
        """Seven pictures with telling prompts."""
        for prompt in (
            "a red fox in the snow",
            "a castle, painted in oil",
            'the "old" fox NEAR(river) AND NOT a* castle',
            "红色的狐狸在雪地里睡觉",
            "雪の中の赤いキツネ",
            "café at night 🦊",
            "say !? loud",
        ):
            saved(prompt)
        saved("without telling words", name="winter-postcard")

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("fox", 2),
            ("FOX snow", 1),
            ("snow fox", 1),
            ("fox castle", 1),
            ("fo", 2),  # the last word may be only begun
            ("fo snow", 0),  # the others are whole
            ('"fox in the"', 1),
            ('"in fox the"', 0),
            ('"red fo"', 0),  # a quoted phrase is whole
            ("狐狸", 1),
            ("雪", 2),
            ("赤い", 1),
            ("キツ", 1),
            ("狐狸 雪地", 1),
            ("cafe", 1),
            ("café", 1),
            ("🦊", 1),
            ("!?", 1),
            ("winter", 1),  # the name of the file counts
            ("zeppelin", 0),
            ("", 8),
            ("   ", 8),
        ],
    )
    def test_words_find(self, words, expected):
        """All words, in any order and case; quoted phrases; scripts without spaces; accents optional; signs literally."""
        assert len(found(words, limit=None)) == expected

    @pytest.mark.parametrize(
        "words",
        ["AND", "OR NOT", "NEAR(river)", "a*", "*", '"', '""', '"fox', 'fox"', "(", "fox)", "^fox", "words:fox", "-fox", "fox + snow",
         "{fox}", "'", "fox'; DROP TABLE jobs; --", "\\", "fox\0snow", "\ud800", ":", "a b c d e f g " * 200],
    )  # fmt: skip
    def test_operators_are_literal(self, words):
        """No operator of the full-text search, no quote and no broken text is an error."""
        found(words)
        assert len(found(limit=None)) == 8

    @given(st.text(max_size=40) | st.text(alphabet="\"*()^:+-{}' ANDORNTE狐🦊\0\\", max_size=30))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_text_is_a_search(self, words):
        """Any text returns a list."""
        assert len(found(words, limit=None)) <= 8

    def test_operators_that_are_words_are_found_as_words(self):
        """AND, NOT and NEAR are ordinary words of a prompt."""
        assert found("NOT castle NEAR") == ['the "old" fox NEAR(river) AND NOT a* castle']


class TestFilters:
    """Model, gateway, time, stars and tags, alone and together."""

    @pytest.fixture(autouse=True)
    def pictures(self):
        """Three pictures of two gateways, the first one ten days old."""
        (self.old,), (self.middle,), (self.new,) = (
            saved("an old fox"),
            saved("a fox", provider="apimart", model="gpt-image-2-official"),
            saved("a new fox"),
        )
        ten_days_ago = datetime.fromtimestamp(self.old.created - 10 * 86_400, UTC).isoformat(timespec="milliseconds")
        change = "UPDATE pictures SET saved_at = ? WHERE id = ?"
        loop.run(api.ledger().run(lambda connection: connection.execute(change, (ten_days_ago, self.old.id))))

    def test_newest_first_and_limited(self):
        """The latest image comes first, and the number of results is limited."""
        assert found() == ["a new fox", "a fox", "an old fox"]
        assert found(limit=2) == ["a new fox", "a fox"]
        assert found("fox", limit=1) == ["a new fox"]

    @pytest.mark.parametrize("name", ["gpt-image-2-official", "GPT-Image-2-Official", "apimart"])
    def test_model_or_gateway(self, name):
        """By a model's name or a gateway's, in any case."""
        assert found(model=name) == ["a fox"]
        assert found("fox", model=name) == ["a fox"]

    def test_unknown_model(self):
        """An unknown model has no images."""
        assert found(model="none") == []

    @pytest.mark.parametrize("since", ["7d", "24h", "1w"])
    def test_since(self, since):
        """Images made within the time."""
        assert found(since=since) == ["a new fox", "a fox"]
        assert found("old", since=since) == []

    def test_since_longer_ago(self):
        """Weeks and dates; epoch seconds too."""
        assert len(found(since="2w")) == len(found(since="2001-01-01")) == len(found(since=0)) == 3

    def test_an_invalid_time(self):
        """It is refused with a message."""
        with pytest.raises(ImageGenError, match="Give 12h, 7d"):
            found(since="soon")

    def test_stars_at_least(self):
        """At least that many stars."""
        ledger = api.ledger()
        loop.run(annotations.set_stars(ledger, self.old.id, 5))
        loop.run(annotations.set_stars(ledger, self.new.id, 3))
        assert found(stars=1) == ["a new fox", "an old fox"]
        assert found(stars=4) == ["an old fox"]
        assert found("new", stars=4) == []
        assert len(found(stars=0)) == 3

    def test_tag(self):
        """By a tag in any spelling, together with words."""
        loop.run(annotations.add_tags(api.ledger(), self.new.id, "#For Paper"))
        assert found(tag="for paper") == ["a new fox"]
        assert found("old", tag="for paper") == []


def test_many_matches_are_newest_first_too():
    """The order is the same if many requests match."""
    (old,) = saved("a fox")
    ledger = api.ledger()

    def copies(connection):
        columns = "created, provider, dialect, base_url, sandbox, model, quality, tier, prompt, asked, resolved, expected, price, save_dir"
        for _ in range(stored._FEW_JOBS + 10):
            query = f"INSERT INTO jobs ({columns}) SELECT {columns} FROM jobs WHERE id = 1"
            job = connection.execute(query).lastrowid
            connection.execute("INSERT INTO prompts (rowid, words) VALUES (?, 'a fox')", (job,))
            query = """INSERT INTO tasks (job, position, first, count, state, cost, planned_at, idempotency_key, sent)
                SELECT ?, 0, 0, 1, 'saved', cost, planned_at, 'k', '{}' FROM tasks WHERE row = 1"""
            task = connection.execute(query, (job,)).lastrowid
            query = """INSERT INTO pictures (task, position, url, path, sha256, size, width, height, mime_type, saved_at)
                SELECT ?, 0, url, path, sha256, size, width, height, mime_type, saved_at FROM pictures WHERE id = 1"""
            connection.execute(query, (task,))

    loop.run(ledger.run(copies))
    ids = [entry.picture.id for entry in loop.run(search.search(ledger, "fox", limit=5))]
    newest = old.id + stored._FEW_JOBS + 10
    assert ids == list(range(newest, newest - 5, -1))
    assert len(loop.run(search.search(ledger, "fox", limit=None))) == stored._FEW_JOBS + 11
    # a picture of the oldest request, saved since, is the newest all the same
    query = "INSERT INTO pictures (task, position, url, path, saved_at) SELECT 1, 1, url, path, saved_at FROM pictures WHERE id = 1"
    loop.run(ledger.run(lambda connection: connection.execute(query)))
    ids = [entry.picture.id for entry in loop.run(search.search(ledger, "fox", limit=3))]
    assert ids == [newest + 1, newest, newest - 1]
    assert [entry.picture.id for entry in loop.run(search.search(ledger, "fox", stars=1, limit=3))] == []


class TestMarks:
    """Stars, tags and notes are stored with the picture."""

    @pytest.fixture
    def number(self):
        """The id of a saved picture."""
        return saved()[0].id

    def mark(self, number):
        """Return a picture's mark."""
        return loop.run(annotations.annotations_of(api.ledger(), [number])).get(number, Annotation())

    def test_all_of_them(self, number):
        """Each is stored without changing the others, and removed again."""
        ledger = api.ledger()
        loop.run(annotations.set_stars(ledger, number, 4))
        loop.run(annotations.set_note(ledger, number, "  the calm one  "))
        loop.run(annotations.add_tags(ledger, number, "Paper", "#snow", "paper,"))
        assert self.mark(number) == Annotation(4, ("paper", "snow"), "the calm one")
        loop.run(annotations.set_stars(ledger, number, 0))
        loop.run(annotations.remove_tags(ledger, number, "SNOW", "never there"))
        assert self.mark(number) == Annotation(0, ("paper",), "the calm one")
        loop.run(annotations.set_note(ledger, number, ""))
        loop.run(annotations.remove_tags(ledger, number, "paper"))
        assert self.mark(number) == Annotation()

    @pytest.mark.parametrize("stars", [-1, 6])
    def test_other_stars(self, number, stars):
        """There are 0 to 5."""
        with pytest.raises(ValueError, match="0 to 5 stars"):
            loop.run(annotations.set_stars(api.ledger(), number, stars))

    @pytest.mark.parametrize("tag", ["", "#", " , ", "x" * 61])
    def test_an_invalid_tag(self, number, tag):
        """A tag is one or a few words."""
        with pytest.raises(ValueError, match="is not a tag"):
            loop.run(annotations.add_tags(api.ledger(), number, tag))

    def test_too_long_a_note(self, number):
        """A note has a maximum length."""
        with pytest.raises(ValueError, match="at most 10,000"):
            loop.run(annotations.set_note(api.ledger(), number, "x" * 10_001))

    @pytest.mark.parametrize(
        "change",
        [
            lambda ledger: annotations.set_stars(ledger, 99, 1),
            lambda ledger: annotations.add_tags(ledger, 99, "x"),
            lambda ledger: annotations.set_note(ledger, 99, "x"),
        ],
    )
    def test_an_unknown_picture(self, number, change):
        """It cannot be annotated."""
        with pytest.raises(LookupError, match="no picture 99"):
            loop.run(change(api.ledger()))

    def test_broken_text_is_kept(self, number):
        """Half of a surrogate pair is stored as an escape."""
        loop.run(annotations.set_note(api.ledger(), number, "half \ud83e"))
        assert self.mark(number).note == "half \\ud83e"

    def test_more_pictures_than_one_statement_takes(self, number):
        """Annotations of a thousand images are read."""
        loop.run(annotations.set_stars(api.ledger(), number, 1))
        assert loop.run(annotations.annotations_of(api.ledger(), range(2000))) == {number: Annotation(1)}


class TestStarsOfThePanel:
    """The panel's stars are the ledger's."""

    def test_the_album_reads_and_writes_the_ledger(self):
        """A star of the panel is five stars, and another press removes them; stars set by the magic are shown."""
        (image,) = saved()
        ledger = api.ledger()
        store = ImageStore(ledger)
        loop.run(store.toggle_star(image.id))
        assert loop.run(annotations.annotations_of(ledger, [image.id])) == {image.id: Annotation(5)}
        loop.run(annotations.set_stars(ledger, image.id, 2))
        assert loop.run(store.tiles([image]))[0]["starred"]
        loop.run(store.toggle_star(image.id))
        assert loop.run(annotations.annotations_of(ledger, [image.id])) == {}
        assert not loop.run(store.tiles([image]))[0]["starred"]


class TestTheCommands:
    """`%imagegen history`, `star`, `tag`, `note`."""

    def test_history_shows_annotations(self, shell, capsys):
        """Stars, tags and note are in the table, escaped, if any image has them."""
        (image,) = saved("a red fox")
        shell.run("%imagegen history")
        assert "marks" not in shell.shown()[0]
        for command in (f"star {image.id} 3", f"tag {image.id} paper #Snow", f"note {image.id} it's <b>calm</b>"):
            shell.run(f"%imagegen {command}")
        assert capsys.readouterr().out.splitlines()[-1] == f"Picture {image.id}: ★★★☆☆ · #paper #snow · it's <b>calm</b>"
        shell.run("%imagegen history fox --stars 3 --tag paper --since 1d --model evolink")
        text, html = shell.shown()[0], shell.shown("text/html")[0]
        assert "★★★☆☆, #paper #snow, it's <b>calm</b>" in text
        assert "★★★☆☆<br>#paper #snow<br>it&#x27;s &lt;b&gt;calm&lt;/b&gt;" in html

    def test_quotes_are_a_phrase(self, shell, capsys):
        """`"red fox"` finds the words only in this order."""
        saved("a fox, red")
        saved("a red fox")
        shell.run('%imagegen history "red fox"')
        assert ("a red fox" in shell.shown()[0], "a fox, red" in shell.shown()[0]) == (True, False)

    def test_no_match(self, shell, capsys):
        """A line reports it."""
        saved()
        shell.run("%imagegen history zeppelin")
        assert capsys.readouterr().out.startswith("No picture matches.")

    def test_annotations_are_shown(self, shell, capsys):
        """Without a value to set, the stored ones are shown."""
        (image,) = saved()
        for command in ("star", "tag", "note"):
            shell.run(f"%imagegen {command} {image.id}")
        assert set(capsys.readouterr().out.splitlines()) == {f"Picture {image.id}: no stars, no tags, no note"}

    def test_stars_as_signs(self, shell, capsys):
        """Stars may be typed as they are shown."""
        (image,) = saved()
        shell.run(f"%imagegen star @{image.id} ★★☆☆☆")
        assert "★★☆☆☆" in capsys.readouterr().out

    def test_a_minus_removes_a_tag(self, shell, capsys):
        """`-snow` removes a tag."""
        (image,) = saved()
        shell.run(f"%imagegen tag {image.id} snow night")
        shell.run(f"%imagegen tag {image.id} -snow")
        assert capsys.readouterr().out.splitlines()[-1] == f"Picture {image.id}: #night"

    @pytest.mark.parametrize(
        ("command", "words"),
        [
            ("star", "star ID\\|NAME N"),
            ("star fox 3", "fox"),
            ("star 1 6", "0 to 5 stars, not '6'"),
            ("star 1 many", "0 to 5 stars"),
            ("star 99 1", "no picture 99"),
            ("note 99", "no picture 99"),
            ("tag 1 #", "is not a tag"),
            ("tag 99 x", "no picture 99"),
            ("history --stars x", "0 to 5 stars"),
            ("history --tag ,", "is not a tag"),
        ],
    )
    def test_misuse(self, shell, command, words):
        """The usage is one line."""
        saved()
        with pytest.raises(UsageError, match=words):
            shell.run(f"%imagegen {command}")

    def test_a_variable_can_be_annotated(self, shell, capsys):
        """`star fox 4` annotates the image in the variable."""
        (image,) = saved()
        shell.shell.user_ns["fox"] = image
        shell.run("%imagegen star fox 4")
        assert f"Picture {image.id}: ★★★★☆" in capsys.readouterr().out

    def test_an_invalid_since(self, shell):
        """`--since soon` is refused with examples."""
        with pytest.raises(ImageGenError, match="7d"):
            shell.run("%imagegen history --since soon")

    def test_more_than_twenty(self, shell):
        """The table has twenty rows and a line about the others."""
        saved(count=25)
        shell.run("%imagegen history")
        assert "The latest 20;" in shell.shown()[0]
        assert len(shell.shown("text/html")[0]) < 400_000


def test_a_phrase_is_only_text():
    """Any text becomes quoted phrases only."""
    chance = random.Random(1)
    for _ in range(200):
        words = "".join(chance.choice(string.printable + "狐🦊") for _ in range(20))
        expression = stored.match_expression(words)
        outside = expression.split('"')[0::2]
        assert {piece.strip() for piece in outside} <= {"", "*"}, (words, expression)
