"""`text_is`: how much of a picture's text is right. A stand-in reads here; `scripts/test --long` uses the real rapidocr."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError
from ledgers import a_png, saved, swept
from shells import a_shell

from imagegen_magic import run, score, text_is
from imagegen_magic._version import INSTALL_NAME
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.imaging.text import reading
from imagegen_magic.studies.scores import text


@pytest.fixture
def reads(monkeypatch):
    """Have a stand-in read pictures: what the test puts into the dict, by the longer edge of the copy that is read."""
    found, edges = {}, []

    def read(copy):
        edges.append(max(copy.size))
        return SimpleNamespace(txts=found.get(max(copy.size)))

    monkeypatch.setattr(reading, "is_available", lambda: True)
    monkeypatch.setattr(reading, "_reader", lambda: read)
    return SimpleNamespace(found=found, edges=edges)


def values(column):
    """Return the values of a column in the order of the pictures."""
    return [column.values[number].value for number in sorted(column.values)]


class TestTheShare:
    """One minus the Levenshtein distance, as a share of the longer text."""

    @pytest.mark.parametrize(
        ("expected", "pieces", "share"),
        [
            ("OPEN", ["OPEN"], 1),
            ("OPEN", ["OPNE"], 0.5),
            ("OPEN", ["0PEN"], 0.75),
            ("OPEN", [], 0),
            ("OPEN", ["OPEN", "24h"], 4 / 7),
            ("Open Today", ["open", "TODAY"], 1),
            ("Open Today", ["TODAY", " o p e n"], 1),
            ("one two three four", ["four", "two", "three", "one"], 1),
            ("one two three four", ["four", "tvo", "three", "one"], 14 / 15),
            ("ﬁne ＣＡＦÉ", ["FINE", "cafe\u0301"], 1),
            ("Straße", ["STRASSE"], 1),
            ("红狐狸", ["红 狐狸"], 1),
            ("abcdefgh", list("abcdefgh"), 1),
        ],
    )
    def test_of_pieces_in_any_order(self, expected, pieces, share):
        """Blanks, case and forms of a character make no difference; what is too much counts as what is missing."""
        assert text.share(text._normal(expected), pieces) == pytest.approx(share)

    def test_it_is_never_below_0(self):
        """Nothing in common."""
        assert text.share("abc", ["xyz", "uvw"]) == 0


class TestTheScorer:
    """What is expected, at which size it is read, and what there is no value for."""

    def test_the_word_of_the_sweep(self, reads):
        """`{{word}}` is the value of the axis; the share and `exact` are columns."""
        study = swept("a sign with {{word}}", {"word": ["OPEN", "OPEL"]})
        reads.found[48] = ("open",)
        found = run(score(study, text_is("{{word}}")))
        assert list(found) == ["text_is {{word}}", "text_is {{word}} exact"]
        assert values(found["text_is {{word}}"]) == [1, 0.75]
        assert values(found["text_is {{word}} exact"]) == [1, 0]
        assert (found["text_is {{word}}"].better, found["text_is {{word}}"].range) == ("higher", (0, 1))
        assert [each.name for each in study.effects("text_is").scores] == ["text_is {{word}}", "text_is {{word}} exact"]

    def test_the_same_text_for_all(self, reads):
        """Without a placeholder it needs no sweep; another text is another scorer."""
        images = saved(count=2)
        reads.found[48] = ("OPEN",)
        found = run(score(images, text_is("Open"), text_is("Shut")))
        assert values(found["text_is Open"]) == [1, 1]
        assert values(found["text_is Shut"]) == [0, 0]
        assert text_is("a" * 50).name == f"text_is {'a' * 39}…"
        assert text_is("a" * 50).fingerprint != text_is("a" * 51).fingerprint
        assert text_is("two\nlines").name == "text_is two lines"

    def test_the_better_of_two_scales_counts(self, reads):
        """A picture is read at 736 pixels, then at 1472 unless all is right, and never enlarged."""
        (image,) = saved(data=a_png(size=(3000, 2000)))
        reads.found.update({736: ("OPNE",), 1472: ("OPENN",)})
        assert values(run(score([image], text_is("open")))["text_is open"]) == [0.8]
        assert reads.edges == [736, 1472]
        reads.found[736] = ("OPEN",)
        run(score([image], text_is("open"), fresh=True))
        assert reads.edges[2:] == [736]
        run(score(saved(), text_is("shut")))
        assert reads.edges[3:] == [48]

    def test_no_expected_text_has_no_value(self, reads):
        """It is not applicable, which is neither right nor wrong."""
        found = run(score(saved(), text_is(" ")))["text_is"]
        assert [each.state for each in found.values.values()] == ["not applicable"]
        assert reads.edges == []

    def test_another_axis_is_a_failure(self, reads):
        """The axes that the picture has are named."""
        found = run(score(swept("{{style}} sign", {"style": ["oil"]}), text_is("{{word}}")))
        assert [why for *_, why in found.failed] == ["ValueError: the picture has no axis word; its axes: style"]
        assert "none: it is of no sweep" in run(score(saved(), text_is("{{word}}"))).failed[0][2]

    def test_the_missing_extra_is_named(self, monkeypatch):
        """In Python and in a cell, before anything is read."""
        monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UnsupportedOption, match=rf"needs the optional package rapidocr.*pip install '{INSTALL_NAME}\[scores\]'"):
            text_is("OPEN")
        with a_shell() as shell:
            shell.shell.user_ns["study"] = saved()
            with pytest.raises(UsageError, match=rf"rapidocr: install it: pip install '{INSTALL_NAME}\[scores\]'"):
                shell.magics.imagegen('score study text_is("OPEN")')

    def test_in_a_cell(self, reads, capsys):
        """A line magic passes the braces on."""
        reads.found[48] = ("OPEN",)
        with a_shell() as shell:
            shell.shell.user_ns["study"] = swept("a sign with {{word}}", {"word": ["OPEN", "SHUT"]})
            shell.run('%imagegen score study text_is("{{word}}")')
            assert capsys.readouterr().out.splitlines()[-1] == "text_is {{word}}: 2 of 2 pictures measured."
            shell.run('%imagegen effects study "text_is {{word}}"')
            assert "text_is {{word}} exact" in shell.shown()[0]


REAL = """
import json, socket, sys
sys.path.append({tests!r})
from memory import peak_memory
from types import SimpleNamespace
from PIL import Image, ImageDraw, ImageFont
from imagegen_magic.studies.scores import text_is
def refuse(*anything):
    raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
def sign(words, size=1024):
    picture = Image.new("RGB", (size, size), (90, 130, 170))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((size * 0.08, size * 0.3, size * 0.92, size * 0.7), fill=(245, 240, 225), outline=(60, 40, 20), width=size // 100)
    font = ImageFont.truetype(FONT, size // 9)
    pen.multiline_text((size / 2, size / 2), words, font=font, fill=(30, 25, 20), anchor="mm", align="center")
    return picture
def measured(expected, picture):
    return text_is.text_is(expected).function(SimpleNamespace(open=lambda: picture))[""]
"""


@pytest.mark.long
class TestRapidocr:
    """The real reader, in a process of its own that refuses every connection."""

    def read(self, code):
        """Return what the code prints as JSON."""
        from typefaces import LATIN

        start = REAL.replace("import text_is", "import text as text_is").replace("{tests!r}", repr(str(Path(__file__).parent)))
        source = f"FONT = {str(LATIN)!r}\n{start}\nprint(json.dumps({code}))"
        return json.loads(
            subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        )

    def test_drawn_signs(self):
        """Seven are right, and no network is used."""
        signs = ["OPEN", "OPEN\nTODAY", "Bakery", "Museum\nof Light", "Gate 42", "No entry", "Fresh\nfish"]
        assert self.read(f"[measured(words, sign(words)) for words in {signs!r}]") == [1] * 7

    def test_misspelt_and_missing_words(self):
        """Two misspelt signs are in part right; an empty picture has none of the text."""
        assert self.read("[measured('OPEN', sign('OPNE')), measured('Bakery', sign('Bakrey'))]") == [0.5, pytest.approx(2 / 3)]
        assert self.read("measured('OPEN', Image.new('RGB', (1024, 1024), 'white'))") == 0

    def test_a_large_picture_takes_little_memory(self):
        """4096 pixels square, read at both scales: below 600 MB."""
        share, memory = self.read("(measured('OPEN LATE', sign('OPEN\\nTODAY', 4096)), peak_memory())")
        assert 0 < share < 1
        assert memory < 600
