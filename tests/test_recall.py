"""The cell that made a picture: complete, verbatim, and asking for exactly the same when it is run."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError
from ledgers import a_png, saved
from shells import a_shell

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.ledger import NewSource
from imagegen_magic.engine.storage import source_copies
from imagegen_magic.imaging.metadata.embed import Origin, embed
from imagegen_magic.notebook.arguments import cell_text, parser
from imagegen_magic.request import ImageRequest, LocalImage

HARD = (
    "a red fox",
    "  indented\n\n\tand blank lines\n  ",
    'it\'s "red" \\ {x} {{y}} $z ?\n!ls\n%%time',
    "红狐狸 🦊👩‍🎨 <b>",
    "ends with a line break\n",
    ">>> looks like a prompt\n... and goes on",
)


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def recalled(shell, capsys, what):
    """Return the cell that recall prints where no front end takes it, without the notes beneath."""
    capsys.readouterr()
    shell.run(f"%imagegen recall {what}")
    return capsys.readouterr().out.removesuffix("\n")


def recorded(shell):
    """Return what the ledger has of the latest request: gateway, sandbox, as asked, as sent."""
    (task,) = loop.run(api.ledger().tasks(limit=1))
    return task.provider, task.sandbox, task.asked, task.sent["json"]


@pytest.mark.parametrize("prompt", HARD)
def test_running_the_recalled_cell_asks_for_the_same(shell, capsys, prompt):
    """Prompt and options come out again as they went in: what is asked, of whom, and what is sent are equal."""
    options = "-p evolink --sandbox --size 1:1 -q low --callback-url https://example.com/x "
    options += """--set "seed=it's \\"so\\"" --set deep='{"a": [1, null]}'"""
    shell.run(f"%%imagegen {options}\n{prompt}\n")
    first, number = recorded(shell), shell.variables["_imagegen"][0].id
    cell = recalled(shell, capsys, number)
    shell.run(cell)
    assert shell.variables["_imagegen"][0].id > number
    assert recorded(shell) == first


def test_configured_defaults_are_in_the_cell(shell, capsys):
    """The cell has the configured values of that time, so that a changed configuration does not change it."""
    shell.magics.quality = "low"
    shell.run("%imagegen -p gccai --sandbox a fox")
    assert "--quality low" in recalled(shell, capsys, 1)


_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")) | st.just(" "), min_size=1, max_size=20).filter(
    lambda text: text.isprintable() and text.strip()
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompt=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(str.strip),
    references=st.lists(_TEXT, max_size=3),
    extra=st.dictionaries(st.text("abcXYZ_'\" ", min_size=1, max_size=6).filter(lambda key: key == key.strip()), _JSON, max_size=2),
    model=st.none() | _TEXT,
    count=st.none() | st.integers(1, 10),
    sandbox=st.booleans(),
    posix=st.booleans(),
)
def test_any_request_survives_being_written_as_a_cell(prompt, references, extra, model, count, sandbox, posix):
    """Written as a cell and read again: the same request. On Windows a backslash is no quote, and a quote cannot stand in one."""
    if not posix and any("'" in text or '"' in text for text in (*references, model or "", json.dumps(extra) if extra else "")):
        return
    request = ImageRequest(prompt, model=model, n=count, references=tuple(references), extra=extra)
    line, _, body = cell_text.cell(request, "evolink", sandbox=sandbox).partition("\n")
    read = dict(parser.read(line.removeprefix("%%imagegen "), posix=posix).given)
    assert (read.pop("provider"), read.pop("sandbox", False), body) == ("evolink", sandbox, prompt)
    assert ImageRequest(prompt, **read) == request


class TestFiles:
    """From a file: ours by its bytes, by its sidecar, and a copy by its metadata."""

    @pytest.fixture
    def image(self, shell):
        """A picture that was made with a few options."""
        shell.run("%%imagegen -p evolink --sandbox --size 1:1 -q low\nA red fox\nin the snow")
        return shell.variables["_imagegen"][0]

    CELL = "%%imagegen --provider evolink --size 1:1 --quality low --sandbox\nA red fox\nin the snow"

    def on_another_machine(self, monkeypatch, own_world):
        """Let the ledger be empty from here on."""
        monkeypatch.setenv("IMAGEGEN_HOME", str(own_world / "another-home"))

    def test_by_its_bytes(self, shell, capsys, image, own_world):
        """Whatever it is called now, and without its sidecar."""
        shutil.copy(image.path, own_world / "renamed picture.png")
        assert recalled(shell, capsys, "'renamed picture.png'") == self.CELL

    def test_by_its_sidecar(self, shell, capsys, image, own_world, monkeypatch):
        """Where the ledger does not know it: on another machine; the sidecar itself may be named, too."""
        self.on_another_machine(monkeypatch, own_world)
        assert recalled(shell, capsys, image.path) == self.CELL
        assert recalled(shell, capsys, image.path.with_suffix(".json")) == self.CELL

    def test_a_changed_file_has_a_note(self, shell, capsys, image):
        """Its sidecar still has the request of the original."""
        image.path.write_bytes(a_png())
        printed = recalled(shell, capsys, image.path)
        assert printed.startswith(self.CELL)
        assert "was changed since it was saved" in printed

    def exported(self, image, path, **changes):
        """Write a copy that has the record of the sidecar, as export does."""
        sidecar = {**json.loads(image.path.with_suffix(".json").read_text()), **changes}
        path.write_bytes(embed(image.data, Origin.of_sidecar(sidecar)))
        return path

    def test_by_the_metadata_of_a_copy(self, shell, capsys, image, own_world):
        """An exported copy names the original, which the ledger knows."""
        assert recalled(shell, capsys, self.exported(image, own_world / "copy.png")) == self.CELL

    def test_a_copy_from_elsewhere(self, shell, capsys, image, own_world, monkeypatch):
        """If the ledger does not have the original, its own metadata is used."""
        copy = self.exported(image, own_world / "copy.png")
        self.on_another_machine(monkeypatch, own_world)
        printed = recalled(shell, capsys, copy)
        assert printed.startswith(self.CELL)

    def test_a_copy_with_references(self, shell, capsys, image, own_world, monkeypatch):
        """Files that it was made with must exist here too; a note has their names."""
        copy = self.exported(image, own_world / "copy.png", asked={"references": ["photo.jpg"], "nonsense": 1, "n": "2"})
        self.on_another_machine(monkeypatch, own_world)
        printed = recalled(shell, capsys, copy)
        assert printed.startswith("%%imagegen --provider evolink --ref photo.jpg --sandbox\nA red fox")
        assert "made with photo.jpg, which must exist here" in printed

    def test_a_copy_with_little_metadata(self, shell, image, own_world, monkeypatch):
        """`--metadata minimal` leaves out the prompt, so there is nothing to recall."""
        copy = own_world / "copy.png"
        sidecar = json.loads(image.path.with_suffix(".json").read_text())
        copy.write_bytes(embed(image.data, Origin.of_sidecar(sidecar), "minimal"))
        self.on_another_machine(monkeypatch, own_world)
        with pytest.raises(UsageError, match="does not have the request; an export with --metadata minimal leaves it out"):
            shell.run(f"%imagegen recall {copy}")

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("any.png", a_png(), "is not in the ledger, has no sidecar and no metadata of a request"),
            ("notes.json", b"{}", "is not the sidecar of a picture"),
            ("notes.json", b"[" * 100_000, "is not the sidecar of a picture"),
            ("bare.json", b'{"asked": {"prompt": 7}, "gateway": "evolink"}', "does not have the request"),
            ("nothing.txt", b"", "no metadata of a request"),
        ],
    )
    def test_files_without_a_request(self, shell, own_world, name, content, words):
        """Another program's file is one line, and no traceback."""
        (own_world / name).write_bytes(content)
        with pytest.raises(UsageError, match=words):
            shell.run(f"%imagegen recall {name}")

    def test_a_sidecar_cannot_write_more_than_options(self, shell, capsys, own_world):
        """A foreign file's line breaks and fields of its own do not reach the option line."""
        sidecar = {"prompt": "a fox", "gateway": "evolink", "sandbox": True}
        sidecar["asked"] = {
            "model": "x\n%system ls",
            "extra": {"a\n!ls": 1},
            "references": ["a\nb"],
            "quality": "low",
            "n": True,
            "mask": 3,
        }
        (own_world / "evil.json").write_text(json.dumps(sidecar))
        assert recalled(shell, capsys, "evil.json").splitlines()[:2] == [
            "%%imagegen --provider evolink --quality low --sandbox",
            "a fox",
        ]


class TestReferences:
    """What a picture was made with is named so that the same bytes are found again."""

    def test_a_picture_of_the_history(self, shell, capsys):
        """By its number, whatever variable held it."""
        shell.run("%imagegen -p evolink --sandbox --size 1:1 -o fox a red fox")
        shell.run("%imagegen -p evolink --sandbox --size 1:1 --ref fox the fox at night")
        first = recorded(shell)
        cell = recalled(shell, capsys, 2)
        assert cell.splitlines()[0].endswith("--ref @1 --sandbox")
        del shell.shell.user_ns["fox"]
        shell.run(cell)
        assert recorded(shell)[3]["prompt"] == first[3]["prompt"]
        assert loop.run(api.ledger().sources(3))[0].picture == 1

    def a_picture_with(self, name, data, *, kept=True, role="reference"):
        """Put a picture into the ledger that was made with these bytes; return its id."""
        local = LocalImage(data, "image/png", 48, 32, name)
        if kept:
            source_copies.save_copy(api.ledger().path.parent, local)
        asked = {"references": [name]} if role == "reference" else {"references": ["https://x.example/a.png"], "mask": name}
        used = [NewSource(role, name, None, local.sha256)]
        used = [NewSource("reference", "https://x.example/a.png"), *used] if role == "mask" else used
        return saved("from a photo", sources=used, **asked)[0].id

    def test_a_file_that_is_still_there(self, shell, capsys, own_world):
        """By its name, as long as it holds the same bytes."""
        (own_world / "photo.png").write_bytes(a_png())
        number = self.a_picture_with("photo.png", a_png())
        assert recalled(shell, capsys, number).splitlines()[0] == "%%imagegen --provider evolink --ref photo.png --sandbox"

    @pytest.mark.parametrize("role", ["reference", "mask"])
    def test_a_file_that_has_changed(self, shell, capsys, own_world, role):
        """The stored copy takes its place, with a note."""
        (own_world / "photo.png").write_bytes(a_png((1, 2, 3)))
        number = self.a_picture_with("photo.png", a_png(), role=role)
        printed = recalled(shell, capsys, number)
        assert f"{'--mask' if role == 'mask' else '--ref'} {api.ledger().path.parent / 'sources'}" in printed.splitlines()[0]
        assert "photo.png is replaced by its stored copy" in printed

    def test_nothing_is_left_of_it(self, shell, capsys):
        """Without a copy the name stays, and a note has what is needed."""
        number = self.a_picture_with("photo", a_png(), kept=False)
        printed = recalled(shell, capsys, number)
        assert printed.splitlines()[0] == "%%imagegen --provider evolink --ref photo --sandbox"
        assert "photo must exist unchanged" in printed


@pytest.mark.parametrize(
    ("what", "words"), [("", "recall ID|NAME|FILE"), ("99", "no picture 99"), ("@99", "no picture 99"), ("nofile.png", "cannot be read")]
)
def test_misuse(shell, what, words):
    """A missing image is one line."""
    with pytest.raises(UsageError, match=words.replace("|", r"\|")):
        shell.run(f"%imagegen recall {what}")


def test_a_variable(shell, capsys):
    """A variable's picture is recalled by its name, one of several by its number; which one is not guessed."""
    shell.run("%imagegen -p gccai --sandbox -n 2 -o foxes two foxes")
    shell.shell.user_ns["second"] = shell.variables["foxes"][1]
    for word in ("foxes[0]", "foxes[-1]", "second"):
        assert recalled(shell, capsys, word) == "%%imagegen --provider gccai --n 2 --sandbox\ntwo foxes"
    with pytest.raises(UsageError, match="foxes holds 2 pictures: give one of them, as foxes"):
        shell.run("%imagegen recall foxes")
