"""`%imagegen delete`: what goes, what stays, and that the same command finishes after a kill."""

import hashlib
import itertools
import os
import signal
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from forks import in_a_fork
from IPython.core.error import UsageError
from ledgers import a_png, saved
from shells import a_shell

from imagegen_magic import Score, generate, run, score, scorer, sweep
from imagegen_magic.engine import api, deletion, loop
from imagegen_magic.engine.ledger import deletion as ledger_deletion
from imagegen_magic.engine.ledger.annotations import add_tags, set_note
from imagegen_magic.engine.ledger.ledger import NewSource
from imagegen_magic.engine.ledger.sweeps import SweepRecord, record_sweep
from imagegen_magic.engine.ledger.votes import Vote, add_vote, votes_between
from imagegen_magic.engine.settings import load as load_settings
from imagegen_magic.engine.storage import source_copies
from imagegen_magic.errors import LedgerError, PictureDeleted, SaveError, UnsupportedOption
from imagegen_magic.notebook.commands import delete as command
from imagegen_magic.studies.conformance import conformance_of
from imagegen_magic.studies.history import search, spending
from imagegen_magic.studies.sweeps import load as sweeps

SECRET = "quokka"


@pytest.fixture
def shell(monkeypatch):
    """A shell in which every question is answered with yes; the questions are in `shell.asked`."""
    with a_shell() as shell:
        shell.asked = []
        monkeypatch.setattr(command, "can_answer", lambda _: True)
        monkeypatch.setattr("builtins.input", lambda question: shell.asked.append(question) or "y")
        yield shell


def delete(*ids):
    """Delete without a question."""
    return loop.run(deletion.delete(api.ledger(), ids))


def everything():
    """Return all bytes that are kept: the ledger with its -wal, and every file of the home folder and of the pictures' folder.

    The sandbox's own tasks are not ours: it is a service, and forgets them after eight days.
    """
    home = load_settings().home
    files = [path for folder in (home, Path("imagegen")) for path in folder.rglob("*") if path.is_file()]
    files = [path for path in files if home / "sandbox" not in path.parents]
    return b"".join(str(path).encode() + path.read_bytes() for path in files)


def a_copy(name=SECRET):
    """Keep the copy of a reference, as a request does; returns its SHA-256."""
    data = a_png() + name.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    folder = load_settings().home / "sources"
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{sha256}.png").write_bytes(data)
    return sha256


def copies():
    """Return the names of the copies that are kept."""
    return {path.stem for path in (load_settings().home / "sources").glob("*")}


def bought(prompt, **options):
    """Make a picture at the sandbox of this process."""
    return run(generate(prompt, **{"provider": "evolink", "sandbox": True, "size": "1:1", "quality": "low", **options}))


class TestWhatGoes:
    """After the command no byte of the words is left."""

    @pytest.mark.parametrize("provider", ["evolink", "openai"])
    def test_no_word_of_the_prompt_is_in_any_file(self, provider):
        """In the ledger, its -wal, the pictures' folder with the sidecar, the spool and the copies."""
        images = bought(f"a {SECRET} on a rock", provider=provider, name=f"my-{SECRET}")
        others = [bought(f"a fox number {number}")[0].id for number in range(3)]
        number, ledger = images[0].id, api.ledger()
        loop.run(set_note(ledger, number, f"the {SECRET} smiles"))
        loop.run(add_tags(ledger, number, SECRET))
        run(score(images, scorer(name="given", version="1")(lambda _: Score(1.0, reason=f"a clear {SECRET}"))))
        assert SECRET.encode() in everything()
        delete(number)
        assert SECRET.encode() not in everything()
        assert not images[0].path.exists()
        assert not images[0].path.with_suffix(".json").exists()
        assert [entry.picture.id for entry in loop.run(search.search(ledger, "fox"))] == others[::-1]
        assert loop.run(search.search(ledger, SECRET)) == []

    def test_a_reader_in_another_process_only_delays_it(self):
        """The ledger notes that words may be left in its file, and the same call finishes."""
        number, ledger = saved(f"a {SECRET}")[0].id, api.ledger()
        other = sqlite3.connect(ledger.path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM jobs").fetchall()
        ledger._patience = 0.1
        with pytest.raises(LedgerError, match=f"Deleted, but the words may still be in .* repeat %imagegen delete {number}"):
            delete(number)
        other.close()
        with a_shell() as shell:
            shell.run("%imagegen doctor")
            assert f"repeat %imagegen delete {number}" in shell.shown()[0]
        assert delete(number).ledger.images == ()
        assert ledger_deletion.unfinished_now(ledger) is None
        assert SECRET.encode() not in everything()

    def test_copies_of_references_go_unless_another_request_uses_them(self):
        """Those whose request is kept stay."""
        own, shared = a_copy("own"), a_copy("shared")
        number = saved("an edit", sources=[NewSource("reference", "a.png", None, own), NewSource("reference", "b.png", None, shared)])[0].id
        saved("another", sources=[NewSource("reference", "b.png", None, shared)])
        assert copies() == {own, shared}
        delete(number)
        assert copies() == {shared}

    def test_the_copy_of_the_picture_itself_goes(self):
        """Although an edit was made from it; not while the edit's task is open, which sends it."""
        own = a_copy("own")
        (image,) = saved("a fox", data=a_png() + b"own")
        (edit,) = saved("an edit", sources=[NewSource("reference", f"@{image.id}", image.id, own)])
        (row,) = (task.row for task in loop.run(api.ledger().tasks()) if task.prompt == "an edit")
        loop.run(api.ledger().set_state(row, "unknown"))
        assert loop.run(deletion.preview(api.ledger(), [image.id])).copies == ()
        loop.run(api.ledger().set_state(row, "saved"))
        found = loop.run(deletion.preview(api.ledger(), [image.id]))
        assert (found.copies, found.offspring) == ((own,), (edit.id,))
        assert copies() == {own}
        delete(image.id)
        assert copies() == set()

    def test_a_task_that_was_resumed_meanwhile_stops_the_deletion(self):
        """Another kernel may fetch the picture again between the check and the ledger."""
        (image,) = saved("a fox")
        (row,) = (task.row for task in loop.run(api.ledger().tasks()))
        loop.run(api.ledger().set_state(row, "made"))
        with pytest.raises(LedgerError, match=f"Task {row} was resumed meanwhile"):
            loop.run(ledger_deletion.delete_images(api.ledger(), [image.id]))
        assert loop.run(api.ledger().pictures(ids=[image.id]))

    def test_a_file_that_is_another_picture_now_is_left(self):
        """It was painted over: it is the user's."""
        (image,) = saved("a fox")
        image.path.write_bytes(b"painted over")
        assert delete(image.id).changed == (image.path,)
        assert image.path.read_bytes() == b"painted over"

    def test_a_file_that_cannot_be_removed_stops_before_the_ledger(self, monkeypatch):
        """The picture is still in the history; the error says what to do."""
        (image,) = saved("a fox")

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", refuse)
            with pytest.raises(SaveError, match=r"cannot be removed: Permission denied. Nothing was charged. Make its folder writable"):
                delete(image.id)
        assert loop.run(api.ledger().pictures(ids=[image.id]))
        delete(image.id)
        assert not image.path.exists()


NUMBERS = {  # tables without words of a picture, or with words that are not of one
    *(
        "about",
        "deletions",
        "checks",
        "votes",
        "budgets",
        "scorers",
        "score_calls",
        "effect_checks",
        "ballots",
        "vote_raters",
        "reservations",
    ),
}
WORDS = {  # tables whose rows lose their words, or are deleted
    *("jobs", "tasks", "pictures", "studies", "members", "sources", "uploads", "drifts", "marks", "tags", "prompts", "folders", "errors"),
    *("inquiries", "seeds", "scores", "combination_scores", "texts"),
}


def test_every_table_of_the_ledger_is_considered():
    """A new table belongs to one of the two kinds; one with words needs its statement in `engine/ledger/deletion.py`."""
    loop.run(api.ledger().check())
    names = {name for (name,) in api.ledger().read("SELECT name FROM sqlite_master WHERE type = 'table'")}
    ours = {name for name in names if not name.startswith(("sqlite_", "prompts_"))}
    assert ours == NUMBERS | WORDS


def test_what_a_service_wrote_goes_with_the_picture():
    """It may repeat the prompt."""
    (image,), (other,) = saved("a fox"), saved("an owl")
    ledger = api.ledger()

    def write(connection):
        connection.execute("INSERT INTO texts (task, text) SELECT task, 'written of ' || id FROM pictures")

    loop.run(ledger.run(write))
    delete(image.id)
    assert ledger.read("SELECT text FROM texts") == [(f"written of {other.id}",)]
    assert loop.run(ledger.pictures(ids=[other.id]))[0].text == f"written of {other.id}"


class TestWhatStays:
    """Sums, other pictures and what they need."""

    def test_what_was_paid_stays_without_words(self):
        """In every grouping, and in the report on conformance."""
        (image,) = bought(f"a {SECRET}")
        ledger = api.ledger()
        before = loop.run(spending.spent(ledger)), loop.run(conformance_of(ledger))
        delete(image.id)
        assert (loop.run(spending.spent(ledger)), loop.run(conformance_of(ledger))) == before
        (row,) = loop.run(spending.spent(ledger, by="prompt"))
        assert row.key == "(deleted)"
        assert row.amount > Decimal(0)

    def test_the_prompt_stays_while_pictures_of_the_request_need_it(self):
        """It goes with the last of them."""
        first, second = (image.id for image in saved(f"two {SECRET}s", count=2))
        done = delete(first)
        assert (done.ledger.requests, done.ledger.sharing) == (0, (second,))
        assert [entry.picture.id for entry in loop.run(search.search(api.ledger(), SECRET))] == [second]
        assert delete(second).ledger.requests == 1
        assert SECRET.encode() not in everything()

    def test_votes_of_the_others_stay(self):
        """Those about the deleted picture count in no ranking."""
        a, b, c = (saved(name)[0].id for name in "abc")
        for left, right in ((a, b), (b, c)):
            loop.run(add_vote(api.ledger(), Vote(left, right, left)))
        delete(a)
        with pytest.raises(LookupError):
            loop.run(set_note(api.ledger(), a, SECRET))
        assert [(vote.left, vote.right) for vote in loop.run(votes_between(api.ledger(), [b, c]))] == [(b, c)]

    def test_a_sweep_keeps_its_axes_until_its_last_picture_is_deleted(self):
        """The deleted combination says so in the grid."""
        first, second = saved("a red fox")[0], saved("a blue fox")[0]
        rows = {row.id: row.task for row in loop.run(api.ledger().pictures())}
        axes = {"colour": ["red", "blue"]}
        combinations = {rows[first.id]: {"colour": "red"}, rows[second.id]: {"colour": "blue"}}
        number = loop.run(record_sweep(api.ledger(), SweepRecord(f"a {{{{colour}}}} fox {SECRET}", axes), combinations, [True]))
        assert delete(first.id).ledger.kept_sweeps == (number,)
        left = sweeps.load(number)
        assert ([image.id for image in left], left.words) == ([second.id], ("deleted", ""))
        assert delete(second.id).ledger.sweeps == (number,)
        assert SECRET.encode() not in everything()
        with pytest.raises(UnsupportedOption, match=f"no sweep {number}"):
            sweeps.load(number)

    def test_open_tasks_are_refused(self):
        """With the command that settles them."""
        (image,) = saved("a fox")
        ledger = api.ledger()
        (row,) = (task.row for task in loop.run(ledger.tasks()))
        loop.run(ledger.set_state(row, "made"))
        with pytest.raises(UnsupportedOption, match=f"still open cannot be deleted: {row}.*%imagegen resume {row} collects the rest"):
            delete(image.id)
        assert image.path.exists()


class TestReuse:
    """A deleted picture is not paid for again without a word."""

    def test_reuse_names_the_deleted_picture_and_sends_nothing(self):
        """--fresh makes it again."""
        (image,) = bought("the same")
        delete(image.id)
        with pytest.raises(PictureDeleted, match=rf"@{image.id} of it was deleted, so it was not sent again. Nothing was charged. --fresh"):
            bought("the same", reuse=True)
        assert len(loop.run(api.ledger().tasks())) == 1
        (again,) = bought("the same")
        assert bought("the same", reuse=True)[0].id == again.id

    def test_of_several_the_others_are_reused(self):
        """The result names the one that is missing."""
        images = bought("three of them", n=3)
        delete(images[1].id)
        with pytest.warns(UserWarning, match=f"@{images[1].id} of it was deleted"):
            again = bought("three of them", n=3, reuse=True)
        assert [image.id for image in again] == [images[0].id, images[2].id]

    def test_a_sweep_reuses_the_rest(self):
        """Its combination says deleted; nothing is sent."""
        axes = {"quality": ["low", "high"]}
        options = {"provider": "evolink", "sandbox": True, "size": "1:1"}
        made = run(sweep("a fox", axes, **options))
        delete(made[0].id)
        with pytest.warns(UserWarning, match="was deleted"):
            again = run(sweep("a fox", axes, reuse=True, **options))
        assert ([image.id for image in again], again.words) == ([made[1].id], ("deleted", ""))

    def test_a_deleted_picture_is_neither_resumed_nor_given_up(self):
        """Its task is settled."""
        (image,) = bought("the same")
        (row,) = (task.row for task in loop.run(api.ledger().tasks()))
        delete(image.id)
        assert loop.run(api.ledger().reclaim(row)) == []
        assert loop.run(api.ledger().forget(row, "given up")) is None


class TestTheCommand:
    """What it shows and asks, and which words are a prompt."""

    def test_it_shows_what_goes_and_stays_and_asks(self, shell):
        """Then it says what it did; the history is empty."""
        (image,) = saved("a <b>red</b> fox")
        shell.run(f"%imagegen delete {image.id}")
        page, note = shell.shown()
        assert "Goes: 1 picture with sidecar, stars, tags and notes; the prompt, settings and search entry of 1 request." in page
        assert "Stays: what was paid (cost unknown), as a sum without words. Notebooks, IPython's input history, exports" in page
        assert "the sandbox for eight days" in page
        assert "&lt;b&gt;red" in shell.shown("text/html")[0]
        assert shell.asked == ["Delete it for good? [y/N] "]
        assert note == "Deleted: 1 picture, 1 kB of files."
        assert not image.path.exists()

    def test_no_is_no(self, shell, monkeypatch):
        """Nothing changes."""
        (image,) = saved("a fox")
        monkeypatch.setattr("builtins.input", lambda _: "")
        with pytest.raises(UsageError, match="Not confirmed: nothing was deleted"):
            shell.run(f"%imagegen delete {image.id}")
        assert image.path.exists()

    def test_without_input_it_needs_yes(self, shell, monkeypatch):
        """As under papermill."""
        (image,) = saved("a fox")
        monkeypatch.setattr(command, "can_answer", lambda _: False)
        with pytest.raises(UsageError, match=r"takes no input\. Add --yes"):
            shell.run(f"%imagegen delete {image.id}")
        shell.run(f"%imagegen delete {image.id} --yes")
        assert not image.path.exists()

    def test_ids_and_variables_can_be_mixed(self, shell):
        """A variable's pictures, one of them, and numbers; each once."""
        foxes, others = saved("foxes", count=2), [saved(name)[0] for name in "ab"]
        shell.shell.user_ns.update(foxes=foxes, others=others)
        shell.run(f"%imagegen delete foxes others[1] @{others[1].id} {foxes[0].id}")
        assert [image.path.exists() for image in (*foxes, *others)] == [False, False, True, False]
        assert shell.asked == ["Delete these 3 pictures for good? [y/N] "]

    def test_a_second_time_it_says_so(self, shell, capsys):
        """As do the commands that need the picture."""
        (image,) = saved("a fox")
        (edit,) = saved("an edit", sources=[NewSource("reference", f"@{image.id}", image.id, None)])
        shell.run(f"%imagegen delete {image.id} --yes")
        assert f"what was made from it: @{edit.id}" in shell.shown()[0]
        shell.run(f"%imagegen delete {image.id}")
        assert capsys.readouterr().out.endswith(f"@{image.id} was deleted before.\n")
        for line in (f"show {image.id}", f"star {image.id} 3", f"recall {image.id}"):
            with pytest.raises(UsageError, match=f"Picture {image.id} was deleted on 20"):
                shell.run(f"%imagegen {line}")
        shell.run(f"%imagegen recall {edit.id}")
        assert f"@{image.id} was deleted: give another picture in its place." in capsys.readouterr().out
        shell.run(f"%imagegen tree {edit.id}")
        assert f"@{image.id}, deleted (reference)" in shell.shown()[0]
        with pytest.raises(UnsupportedOption, match=f"Picture @{image.id} was deleted on 20"):
            shell.run(f"%imagegen --sandbox --ref @{image.id} the fox again")

    def test_a_vote_leaves_deleted_pictures_out(self, shell, capsys):
        """Of a variable that still holds them."""
        foxes = saved("foxes", count=3)
        shell.shell.user_ns.update(foxes=foxes)
        for winner in (0, 1):
            loop.run(add_vote(api.ledger(), Vote(foxes[1].id, foxes[2].id, foxes[1 + winner].id)))
        delete(foxes[0].id)
        shell.run("%imagegen vote foxes")
        assert "Ranking of 2 pictures by 2 votes" in capsys.readouterr().out
        delete(foxes[1].id)
        with pytest.raises(UsageError, match="foxes holds 1 picture that is not deleted: a vote needs at least two"):
            shell.run("%imagegen vote foxes")

    @pytest.mark.parametrize("words", ["delete the background of this picture", "delete the background", "delete: a poster", "delete it."])
    def test_a_prompt_that_begins_with_delete_stays_a_prompt(self, shell, words):
        """It is the subcommand only with words that can name pictures."""
        shell.run(f"%imagegen --sandbox --dry-run {words}")
        made = shell.shown()[0]
        shell.run(f"%imagegen {words}")
        assert words in made
        assert loop.run(api.ledger().tasks())[0].prompt == words

    @pytest.mark.parametrize("words", ["foxes", "17 foxes", "foxes[2] castles", "@17 19"])
    def test_what_may_name_a_picture_is_never_sent_as_a_prompt(self, shell, words):
        """After a restart the variable is gone: no picture of these words is paid for."""
        with pytest.raises((UsageError, UnsupportedOption)):
            shell.run(f"%imagegen delete {words}")
        assert loop.run(api.ledger().tasks()) == []


def delete_and_die(number, module, name, count):
    """Delete a picture, and be killed at the call of that function, after `count` calls of it."""
    real, calls = getattr(module, name), itertools.count()

    def die(*given, **more):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **more)

    setattr(module, name, die)
    delete(number)


@pytest.mark.parametrize(
    ("module", "name", "count"),
    [
        (os, "unlink", 1),  # between a picture and its sidecar
        (ledger_deletion, "delete_images", 0),
        (source_copies, "remove_copies", 0),
        (ledger_deletion, "finish_deletion", 0),
    ],
)
def test_after_a_kill_the_same_call_finishes(module, name, count):
    """Nothing of it is left, and nothing else is touched."""
    copy = a_copy()
    (image,) = saved(f"a {SECRET}", sources=[NewSource("reference", f"{SECRET}.png", None, copy)])
    image.path.with_suffix(".json").write_text(f'{{"sha256": "{hashlib.sha256(image.data).hexdigest()}", "asked": "{SECRET}"}}')
    (other,) = saved("a fox")
    api.ledger().close()
    assert in_a_fork(delete_and_die, image.id, module, name, count) == -signal.SIGKILL
    delete(image.id)
    assert SECRET.encode() not in everything()
    assert (copies(), other.path.exists()) == (set(), True)
    assert [row.id for row in loop.run(api.ledger().pictures())] == [other.id]
    assert api.ledger().inspect() is None


def test_a_request_that_fails_keeps_its_charge():
    """Words of its error go with a sweep's last picture; whether it was charged stays."""
    (image,) = saved("a fox")
    ledger = api.ledger()
    saved("another")
    failed, made = (task.row for task in loop.run(ledger.tasks()))
    loop.run(ledger.set_state(failed, "failed", error=LedgerError(f"no {SECRET}", charge="no")))
    (key,) = (task.idempotency_key for task in loop.run(ledger.tasks(rows=[failed])))
    answer = load_settings().home / "spool" / f"{key}.json"
    answer.parent.mkdir()
    answer.write_text(SECRET)
    loop.run(record_sweep(ledger, SweepRecord("a fox", {"a": ["1", "2"]}), {failed: {"a": "1"}, made: {"a": "2"}}, [True]))
    delete(image.id, max(row.id for row in loop.run(ledger.pictures())))
    (task,) = loop.run(ledger.tasks(rows=[failed]))
    assert (task.failure.charge, str(task.failure.what), task.prompt) == ("no", "deleted", "")
    assert SECRET.encode() not in everything()
