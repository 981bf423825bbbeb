"""References are loaded: files under either form of their names, copies of earlier references, closed images."""

from __future__ import annotations

import hashlib
import io
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from imagegen_magic.engine.references import ReferenceLoader
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage.source_copies import find_copy, save_copy
from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.request import LocalImage

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café é.png") for form in ("NFC", "NFD"))


def png(colour: str, comment: str = "") -> bytes:
    """Return a small picture, with a comment that a file may hold."""
    out = io.BytesIO()
    if comment:
        Image.new("RGB", (16, 16), colour).save(out, "JPEG", comment=comment.encode())
    else:
        Image.new("RGB", (16, 16), colour).save(out, "PNG")
    return out.getvalue()


def loaded(source: object) -> LocalImage:
    """Return what a source becomes in this folder."""
    found = ReferenceLoader(load()).picture(source)
    assert isinstance(found, LocalImage)
    return found


class TestNames:
    """A name may be typed composed and stored decomposed, as macOS does, or the other way round."""

    @pytest.mark.parametrize(("stored", "typed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
    def test_the_other_form_is_found(self, own_world: Path, stored: str, typed: str) -> None:
        """As a name, a path, within a folder of such a name, absolute, and as a pattern."""
        (own_world / stored).write_bytes(png("red"))
        (own_world / stored.split()[0]).mkdir()
        (own_world / stored.split()[0] / stored).write_bytes(png("red"))
        for source in (typed, Path(typed), f"{typed.split()[0]}/{typed}", f"{stored.split()[0]}/{typed}", str(own_world / typed)):
            assert loaded(source).data == png("red")
        (one,) = ReferenceLoader(load()).each(typed.replace("png", "*"))
        assert loaded(one).data == png("red")

    def test_the_exact_name_wins(self, own_world: Path) -> None:
        """Where a folder holds both, each is itself."""
        (own_world / COMPOSED).write_bytes(png("red"))
        (own_world / DECOMPOSED).write_bytes(png("blue"))
        assert loaded(COMPOSED).data == png("red")
        assert loaded(DECOMPOSED).data == png("blue")

    def test_neither_exists(self, own_world: Path) -> None:
        """The message has the name as it was typed."""
        with pytest.raises(UnsupportedOption) as caught:
            loaded(DECOMPOSED)
        assert DECOMPOSED in str(caught.value)


class TestCopies:
    """The copy of a reference holds nothing but the picture, and has the identity of the file that it was made of."""

    def test_it_has_the_identity_of_its_file(self, own_world: Path) -> None:
        """So that a request that is repeated with it is the same request, and `--reuse` finds it."""
        (own_world / "photo.jpg").write_bytes(data := png("red", "from my garden"))
        picture = loaded("photo.jpg")
        assert picture.identity == hashlib.sha256(data).hexdigest()
        copy = save_copy(load().home, picture)
        assert copy == find_copy(load().home, picture.identity)
        assert copy.read_bytes() == picture.data
        assert b"garden" not in picture.data
        again = loaded(str(copy))
        assert (again.identity, again.sha256) == (picture.identity, picture.sha256)

    def test_a_copy_of_an_earlier_version_has_its_own(self, own_world: Path) -> None:
        """It was saved unchanged, under the same name."""
        data = png("red", "from my garden")
        folder = load().home / "sources"
        folder.mkdir(parents=True)
        copy = folder / f"{hashlib.sha256(data).hexdigest()}.jpg"
        copy.write_bytes(data)
        assert loaded(str(copy)).identity == copy.stem

    def test_any_other_file_of_such_a_name_is_itself(self, own_world: Path) -> None:
        """A name of 64 digits elsewhere means nothing."""
        path = own_world / f"{'0' * 64}.png"
        path.write_bytes(png("red"))
        assert loaded(path.name).identity == hashlib.sha256(png("red")).hexdigest()

    def test_made_ready_twice_it_stays_the_same_request(self, own_world: Path) -> None:
        """Also if it is loaded again for another gateway."""
        (own_world / "photo.jpg").write_bytes(png("red", "from my garden"))
        picture = loaded("photo.jpg")
        assert ReferenceLoader(load(), max_bytes=len(picture.data)).picture(picture) is picture
        assert loaded(picture).identity == picture.identity


def test_a_closed_image_is_one_line(own_world: Path) -> None:
    """Giving its path, as the message proposes, works."""
    (own_world / "photo.png").write_bytes(png("red"))
    with Image.open(own_world / "photo.png") as photo:
        pass
    with pytest.raises(ImageInvalid, match=r"the image is closed.*Nothing was charged. Open it again .* or give its path"):
        ReferenceLoader(load()).picture(photo)
    assert loaded("photo.png").data == png("red")


def test_the_file_of_the_report(own_world: Path) -> None:
    """A PNG with a text that unpacks to 3 MB is a reference like any other, without the text."""
    import struct
    import zlib

    plain = png("red")
    content = b"zTXt" + b"Comment\0\0" + zlib.compress(bytes(3_000_000))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    (own_world / "photo.png").write_bytes(plain[:33] + chunk + plain[33:])
    picture = loaded("photo.png")
    assert (picture.data, picture.notes) == (plain, ("left out: text",))
