"""Comparison of two images: words, settings and numbers, as outputs that survive saving."""

import base64
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError
from ledgers import a_png, saved
from PIL import Image
from shells import a_shell

from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.commands import compare
from imagegen_magic.studies import comparison
from imagegen_magic.studies.comparison import as_text, changes

pytestmark = pytest.mark.slow


class TestWords:
    """What differs in a prompt."""

    @pytest.mark.parametrize(
        ("left", "right", "expected"),
        [
            ("a red fox", "a red fox", "a red fox"),
            ("a red fox in the snow", "a blue fox, in snow", "a [-red-]{+blue+} fox{+,+} in [-the -]snow"),
            ("红色的狐狸", "蓝色的狐狸", "[-红-]{+蓝+}色的狐狸"),
            ("赤い狐が雪の中", "青い狐が雪の中で", "[-赤-]{+青+}い狐が雪の中{+で+}"),
            ("👩‍🎨 fox 👍🏽", "👩‍🚀 fox 👍", "[-👩‍🎨-]{+👩‍🚀+} fox [-👍🏽-]{+👍+}"),
            ("re\u0301sume\u0301", "resume", "[-re\u0301sume\u0301-]{+resume+}"),
            ("", "new", "{+new+}"),
            ("snow", "snowy", "[-snow-]{+snowy+}"),
        ],
    )
    def test_word_by_word(self, left, right, expected):
        """Words are whole, characters of scripts without spaces are separate, an emoji is one token."""
        assert as_text(changes(left, right)) == expected

    @given(st.text(max_size=60), st.text(max_size=60))
    def test_nothing_is_lost(self, left, right):
        """Without the added parts it is the left text, without the removed ones the right one; joined tokens are the prompts."""
        found = changes(left, right)
        assert "".join(text for kind, text in found if kind != "added") == left
        assert "".join(text for kind, text in found if kind != "removed") == right
        assert ["".join(text for text, _ in side) for side in comparison.word_diff(left, right)] == [left, right]

    def test_long_prompts_end(self):
        """The longest prompts of any gateway, of few distinct characters, are compared in time."""
        left, right = "狐狸雪夜" * 4000, "狐狸夜雪" * 4000
        found = changes(left, right)
        assert "".join(text for kind, text in found if kind != "removed") == right


def test_settings_that_differ():
    """By name, with a dash for a missing one; extra fields are spelt out."""
    (left,), (right,) = saved(size="1:1", extra={"seed": 1}), saved(provider="apimart", size="16:9", references=["a", "b"])
    assert comparison.setting_diff(comparison.settings(left), comparison.settings(right)) == [
        ("service", "evolink (sandbox)", "apimart (sandbox)"),
        ("size", "1:1", "16:9"),
        ("extra", "seed=1", "–"),
        ("references", "–", "a, b"),
    ]


@pytest.fixture
def shell(own_world):
    """A shell with two pictures in variables and a file of its own."""
    with a_shell() as shell:
        names = shell.shell.user_ns
        names["fox"], names["foxes"] = saved("a red <fox>", quality="low")[0], saved("a blue <fox>", count=2, quality="high")
        (own_world / "photo.png").write_bytes(a_png(size=(30, 60)))
        yield shell


def shown(shell, capsys, line):
    """Return what compare prints in a terminal."""
    capsys.readouterr()
    shell.run(f"%imagegen compare {line}")
    return capsys.readouterr().out


class TestPicking:
    """A and B are ids, variables or files."""

    @pytest.mark.parametrize("line", ["1 2", "@1 @2", "fox foxes[0]", "1 foxes[-2]", "imagegen/picture-1.png imagegen/picture-2.png"])
    def test_images_of_the_ledger(self, shell, capsys, line):
        """However they are named, prompt, settings and numbers are known."""
        text = shown(shell, capsys, line)
        assert "a [-red-]{+blue+} <fox>" in text
        assert re.search(r"quality +low +high", text)
        assert re.search(r"pixels +48×32", text)
        assert re.search(rf"bytes +{len(shell.variables['fox'].data)} ", text)

    def test_a_foreign_file(self, shell, capsys):
        """Only its numbers are known, and a line reports that."""
        text = shown(shell, capsys, "photo.png 1")
        assert "The prompt of A: photo.png is unknown" in text
        assert "Settings" not in text
        assert re.search(r"pixels +30×60 .* 48×32", text)

    @pytest.mark.parametrize("content", ["EVOLINK_API_KEY=sk-secret-1a2b3c", '{"key": "sk-secret-1a2b3c"}', "<key>sk-secret-1a2b3c</key>"])
    @pytest.mark.parametrize("command", ["compare .env 1", "compare 1 .env", "mask .env", "mask photo.png --from .env", "recall .env"])
    def test_a_file_that_is_no_picture_is_not_quoted(self, shell, own_world, capsys, command, content):
        """It may hold keys, and cell outputs are saved with the notebook."""
        (own_world / ".env").write_text(content)
        with pytest.raises((UsageError, ImageGenError)) as refused:
            shell.run(f"%imagegen {command}")
        printed = str(refused.value) + shell.context.last_error + "".join(capsys.readouterr())
        assert ".env" in str(refused.value)
        assert "secret" not in printed

    def test_other_values_of_variables(self, shell, capsys):
        """A PIL image is accepted as a reference is."""
        shell.shell.user_ns["drawn"] = Image.new("RGB", (40, 20), "red")
        assert re.search(r"pixels +40×20", shown(shell, capsys, "drawn fox"))

    def test_a_copy_with_a_sidecar(self, shell, capsys, own_world, monkeypatch):
        """A file that is not in the ledger has the prompt and settings of its sidecar."""
        sidecar = {"prompt": "a red <fox>", "asked": {"quality": "low"}, "gateway": "evolink", "sandbox": True}
        (own_world / "photo.json").write_text(json.dumps(sidecar))
        text = shown(shell, capsys, "photo.png foxes[0]")
        assert "a [-red-]{+blue+} <fox>" in text
        assert re.search(r"quality +low +high", text)

    def test_a_url(self, shell):
        """It is not fetched for this: the message has the next step."""
        shell.shell.user_ns["far"] = "https://cdn.example/x.png"
        with pytest.raises((UsageError, ImageGenError)):
            shell.run("%imagegen compare far 1")

    def test_equal_settings(self, shell, capsys):
        """The same request has no differences."""
        text = shown(shell, capsys, "foxes[0] foxes[1]")
        assert "Prompt, the same for both\na blue <fox>" in text
        assert "No setting differs" in text

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("1", "compare A B"),
            ("1 99", "no picture 99"),
            ("1 foxes", r"foxes holds 2 pictures: give one of them, as foxes\[0\]"),
            ("1 foxes[2]", r"the last is foxes\[1\]"),
            ("1 nofile.png", "nor a variable, nor a readable file"),
            ("1 words.txt", "words.txt cannot be shown"),
        ],
    )
    def test_refusals(self, shell, own_world, line, words):
        """One line that names the fault and the image."""
        (own_world / "words.txt").write_text("no picture")
        with pytest.raises(UsageError, match=words):
            shell.run(f"%imagegen compare {line}")

    def test_a_moved_file(self, shell):
        """A missing original is refused, with its old path."""
        shell.variables["fox"].path.unlink()
        with pytest.raises(UsageError, match="The file of @1 no longer exists"):
            shell.run("%imagegen compare 1 2")

    def test_a_name_for_two_things(self, shell, own_world):
        """A word that is a variable and a file is refused."""
        (own_world / "fox").write_bytes(a_png())
        with pytest.raises(UsageError, match=r"write \./fox"):
            shell.run("%imagegen compare fox 2")


class TestOutputs:
    """What a notebook keeps."""

    def sides(self, shell, *words):
        """Return two sides as the command makes them."""
        return [compare._side(shell.context, word) for word in words]

    def test_slider_picture_and_words(self, shell):
        """A slider without a script, one static image with both, and the differences, escaped, with colours of both themes."""
        slider, both, words = compare.bundles(*self.sides(shell, "1", "2"))
        assert slider.data["text/html"].count('<img src="data:image/') == 2
        assert "<script" not in slider.data["text/html"] + words.data["text/html"]
        (kind,) = [mime for mime in both.data if mime.startswith("image/")]
        assert Image.open(io.BytesIO(base64.b64decode(both.data[kind]))).width > 48
        html = words.data["text/html"]
        assert re.search(r"<del [^>]+>red</del><ins [^>]+>blue</ins> &lt;fox&gt;", html)
        assert "<fox>" not in html
        assert "color:inherit" in html

    def test_different_shapes_have_no_slider(self, shell):
        """They would be distorted by overlaying: they are side by side."""
        both, words = compare.bundles(*self.sides(shell, "photo.png", "1"))
        assert "slider" not in both.data.get("text/html", "")
        assert "Numbers" in words.data["text/html"]

    @pytest.mark.slow
    def test_large_pictures_stay_small(self, shell, own_world):
        """Noise of two megapixels: each output stays below the notebook's limit."""
        for name in ("one.png", "other.png"):
            Image.effect_noise((1920, 1080), 90).save(own_world / name)
        slider, both, words = compare.bundles(*self.sides(shell, "one.png", "other.png"))
        (kind,) = [mime for mime in both.data if mime.startswith("image/")]
        assert len(slider.data["text/html"]) < 2 * 100_000 * 4 / 3 + 8_000
        assert len(both.data[kind]) <= 150_000 * 4 / 3 + 4
        assert len(words.data["text/html"]) < 10_000
