"""An error's message is a sentence, and its advice fits the cause."""

import errno
import os

import pytest

from imagegen_magic.engine.storage import images
from imagegen_magic.errors import ImageInvalid, SaveError
from imagegen_magic.imaging.verify import verify


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"{}", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\x10WEBPVP8X"])
def test_what_is_wrong_with_a_picture_begins_as_a_sentence(content):
    """A download's error stands alone, so it begins with a capital letter."""
    with pytest.raises(ImageInvalid) as caught:
        verify(content)
    assert str(caught.value)[0].isupper()


def test_a_folder_that_cannot_be_is_not_a_full_disk(tmp_path):
    """The message says that a file is in the folder's place, and advises another folder, not more room."""
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(SaveError) as caught:
            images.save(b"bytes", folder, "fox", 1, ".png", {})
        assert f"{tmp_path / 'taken'} is a file" in str(caught.value)
        assert "%imagegen resume DIR saves it in another folder" in str(caught.value)
        assert "room" not in str(caught.value)


@pytest.mark.parametrize(("code", "room"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False), (errno.EROFS, False)])
def test_room_is_advised_only_if_there_is_none(tmp_path, monkeypatch, code, room):
    """A full disk or quota asks for room, a folder that may not be written for another one; both can be collected."""

    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(SaveError) as caught:
        images.save(b"bytes", tmp_path, "fox", 1, ".png", {})
    monkeypatch.undo()
    assert ("Make room" in str(caught.value)) is room
    assert "%imagegen resume" in str(caught.value)
    assert os.strerror(code) in str(caught.value)
