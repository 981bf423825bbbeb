"""Whatever a public function is given, it raises an error of ours in one line, also for files that are gone and disks that refuse."""

import asyncio
import copy
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from full_disks import read_only
from IPython.display import Image as IPythonImage
from ledgers import saved
from PIL import Image

from imagegen_magic import Panel, export, generate, invert, mask_box, mask_from, run, stream, sweep
from imagegen_magic.errors import ImageGenError, PictureGone, ReadError, SaveError, UnsupportedOption
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Generation
from imagegen_magic.studies import ranking
from imagegen_magic.studies.sweeps.result import SweepResult

WHITE = Image.new("RGB", (64, 48), "white")


def _fox():
    pictures = tuple(saved("a fox", count=2))
    return Generation(pictures, pictures[0].request, "evolink", 1.0, ("task-1",))


def _study():
    one, other = saved("a red fox", count=2)
    pictures = (one, replace(other, task=1))
    places = ({"what": "red"}, {"what": "blue"})
    return SweepResult(
        pictures, one.request, "evolink", 1.0, (), prompt="a {{what}} fox", axes={"what": ("red", "blue")}, places=places, words=("", "")
    )


def _gone(image):
    return replace(image, path=Path("gone.png"), preview=None)


@pytest.fixture
def files(own_world):
    """A folder with what is no picture."""
    (own_world / "adir").mkdir()
    (own_world / "adir" / "mine.txt").write_text("mine")
    (own_world / "afile").write_text("mine")
    (own_world / "text.png").write_text("hello")
    (own_world / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\nxxxx")


def _refused(call):
    with pytest.raises(ImageGenError) as error:
        call()
    given = str(error.value)
    assert "\n" not in given
    assert ". Nothing was charged. " in given
    assert type(pickle.loads(pickle.dumps(error.value))) is type(error.value)
    return error.value


def _id(value):
    """Return a value as a test's id, the same in every process of the run."""
    return re.sub(r" at 0x[0-9A-Fa-f]+|(?<=size=64x48)[0-9A-F]+", "", repr(value))


KINDS = [3, None, 2.5, b"x", object(), ["a"], {"a": 1}, lambda: 1, float("nan")]


class TestKinds:
    """Arguments of another kind than is taken."""

    @pytest.mark.parametrize("prompt", [*KINDS, "", "   "], ids=_id)
    def test_of_a_prompt(self, prompt):
        """Of a picture, a sweep and a panel."""
        _refused(lambda: run(generate(prompt, sandbox=True)))
        _refused(lambda: run(sweep(prompt, {"quality": ["low"]}, sandbox=True)))
        if not isinstance(prompt, str):
            _refused(lambda: Panel(prompt=prompt, sandbox=True))

    @pytest.mark.parametrize("option", ["size", "resolution", "quality", "model", "background", "moderation", "output_format", "extra"])
    @pytest.mark.parametrize("value", [3, 2.5, ["a"], (1, 2), object()], ids=_id)
    def test_of_an_option(self, option, value):
        """None of them is sent."""
        _refused(lambda: run(generate("a fox", sandbox=True, **{option: value})))

    @pytest.mark.parametrize(
        "options",
        [
            {"n": "two"},
            {"n": 2.5},
            {"n": 0},
            {"provider": 3},
            {"provider": "nope"},
            {"timeout": "x"},
            {"timeout": -1},
            {"reuse": "maybe"},
            {"sandbox": "maybe"},
            {"extra": [1]},
            {"extra": {"a": object()}},
            {"extra": {1: 2}},
            {"references": 3},
            {"references": [None]},
            {"references": "nofile.png"},
            {"references": "adir"},
            {"references": "cut.png"},
            {"references": "text.png"},
            {"mask": "nofile.png"},
            {"references": [WHITE], "mask": 3},
        ],
        ids=_id,
    )
    def test_of_further_options(self, options, files):
        """Nor are these."""
        _refused(lambda: run(generate("a fox", **{"sandbox": True, **options})))

    def test_of_a_name(self):
        """An option that does not exist names the nearest."""
        error = _refused(lambda: run(generate("a fox", sandbox=True, qualty="low")))
        assert (error.option, error.fix) == ("qualty", {"quality": "low"})
        error = _refused(lambda: run(sweep("a fox", {"quality": ["low"]}, sandbox=True, sharpness=7)))
        assert 'Another field of the service goes into extra={"name": value}' in str(error)

    @pytest.mark.parametrize("axes", [3, None, "quality", ["quality"], {3: ["a"]}, {"quality": 3}, {"quality": []}, {"n": ["x"]}], ids=_id)
    def test_of_axes(self, axes):
        """A dict of names and lists is taken."""
        _refused(lambda: run(sweep("a fox", axes, sandbox=True)))

    @pytest.mark.parametrize("repeat", [0, -1, 1.5, "x", None, True], ids=_id)
    def test_of_repeat(self, repeat):
        """It counts."""
        _refused(lambda: run(sweep("a fox", {"quality": ["low"]}, sandbox=True, repeat=repeat)))

    @pytest.mark.parametrize("value", [*KINDS, generate], ids=_id)
    def test_of_what_run_waits_for(self, value):
        """It says what it takes."""
        assert "run() cannot wait for a value of type" in str(_refused(lambda: run(value)))

    def test_of_a_stream_in_run(self):
        """Which is gone through, not waited for."""
        events = stream("a fox", sandbox=True)
        assert "async for" in str(_refused(lambda: run(events)))
        asyncio.run(events.aclose())

    @pytest.mark.parametrize("images", [*KINDS, "fox", [[3]], Path("x.png"), iter([iter([])])], ids=_id)
    def test_of_pictures_to_export_and_to_rank(self, images):
        """Generations, pictures, and lists of those are taken."""
        _refused(lambda: export(images, "foxes"))
        if not isinstance(images, type(iter([]))):
            _refused(lambda: run(ranking.rank(images)))

    def test_of_a_target(self, files):
        """Of an export and of a sheet."""
        fox = _fox()
        for target in (3, None, b"x", "a\0b", "adir", "afile/x", "/proc/x", "x" * 300, "~nobody-here/x", ["x"]):
            _refused(lambda target=target: export(fox, target))
        for path in (
            3,
            b"x",
            "a\0b.png",
            "afile/x.png",
            "nodir/x.png",
            "/proc/x.png",
            "x.jpg",
            "x",
            "",
            "x" * 300 + ".png",
            "~nobody-here/x.pdf",
            "adir",
        ):
            _refused(lambda path=path: fox.contact_sheet(path))
        assert sorted(path.name for path in Path().iterdir()) == ["adir", "afile", "cut.png", "imagegen", "text.png"]

    def test_of_further_arguments(self):
        """Of an export, a sheet, a grid and a sweep's places."""
        fox, study = _fox(), _study()
        for metadata in (3, None, "no", ["full"]):
            _refused(lambda metadata=metadata: export(fox, "foxes", metadata=metadata))
        for secrets in (3, [3], None):
            _refused(lambda secrets=secrets: export(fox, "foxes", secrets=secrets))
        for columns in (0, -1, 1.5, "x", True):
            _refused(lambda columns=columns: fox.contact_sheet(columns=columns))
        for edge in (0, -5, 1.5, "x", True):
            _refused(lambda edge=edge: fox.contact_sheet(edge=edge))
            _refused(lambda edge=edge: study.grid(edge=edge))
        for name in (3, "nope", ["what"], object()):
            _refused(lambda name=name: study.grid(rows=name))
            _refused(lambda name=name: study.sheet(columns=name))
        for value in (3, ["red"], None):
            _refused(lambda value=value: study.at(what=value))
        for image in (*KINDS, fox[0]):
            _refused(lambda image=image: study.place(image))
        assert study.place(copy.deepcopy(study[1])) == {"what": "blue"}

    def test_of_a_judge(self):
        """It returns one of the two, or None."""
        fox = _fox()
        for better in (3, "left", True):
            with pytest.raises(UnsupportedOption, match="neither of the two pictures"):
                run(ranking.judged(fox, lambda left, right, better=better: better))

    @pytest.mark.parametrize("value", [*KINDS, "nofile.png", "adir", "text.png", "cut.png", "", "a\0b", "https://x.example/a.png"], ids=_id)
    def test_of_masks(self, value, files):
        """Of mask_from, mask_box and invert."""
        _refused(lambda: mask_from(value))
        _refused(lambda: mask_box(value, 1, 1, 2, 2))
        _refused(lambda: invert(value))

    @pytest.mark.parametrize("box", [("a", 1, 2, 3), (None, 1, 2, 3), (5, 5, 1, 1), (0, 0, 65, 48), (1, 1, 1, 1), ([1], 1, 2, 3)], ids=_id)
    def test_of_a_box(self, box):
        """Within the picture, in pixels."""
        _refused(lambda: mask_box(WHITE, *box))

    @pytest.mark.parametrize("options", [{"nope": 1}, {"provider": 3}, {"model": "nope"}, {"extra": 3}], ids=_id)
    def test_of_a_panel(self, options):
        """What can be chosen in it is shown as a problem there; what cannot is refused."""
        _refused(lambda: Panel(sandbox=True, **options))

    @pytest.mark.parametrize("extra", [3, "seed=7", [1], None], ids=_id)
    def test_of_further_fields(self, extra):
        """Of a request."""
        _refused(lambda: ImageRequest("a fox", extra=extra))


class TestFiles:
    """Files that are gone, and disks that refuse."""

    def test_a_picture_whose_file_is_gone(self):
        """The error is a FileNotFoundError as ever, in one line; shown, it is a line of words."""
        image = _gone(_fox()[0])
        for read in (lambda: image.data, image.open, lambda: mask_from(image)):
            error = _refused(read)
            assert isinstance(error, PictureGone)
            assert isinstance(error, FileNotFoundError)
            assert (error.errno, error.strerror) == (2, "No such file or directory")
            assert "There is no file gone.png" in str(error)
        assert image._repr_mimebundle_() == ({"text/plain": f"{image!r}: There is no file gone.png"}, {})

    def test_a_mask_of_a_missing_file(self, files):
        """A folder is no file, either."""
        assert isinstance(_refused(lambda: mask_from("nofile.png")), PictureGone)
        error = _refused(lambda: mask_from("adir"))
        assert isinstance(error, ReadError)
        assert not isinstance(error, PictureGone)
        assert "adir cannot be read: Is a directory" in str(error)

    def test_a_sheet_on_a_disk_that_takes_nothing(self, tmp_path):
        """A SaveError, which is an OSError; nothing was charged."""
        fox, study = _fox(), _study()
        with read_only(tmp_path / "disk") as disk:
            for write in (
                lambda: fox.contact_sheet(disk / "x.png"),
                lambda: study.contact_sheet(disk / "x.pdf"),
                lambda: export(fox, disk / "x"),
            ):
                error = _refused(write)
                assert isinstance(error, SaveError)
                assert isinstance(error, OSError)
                assert re.search("Read-only file system|Permission denied", str(error))

    def test_pictures_that_are_gone_are_named_as_such(self):
        """On a sheet and in a grid; an export of nothing else is refused."""
        fox, study = _fox(), _study()
        assert replace(fox, images=(_gone(fox[0]), fox[1])).contact_sheet(edge=32).size[0] > 32
        assert replace(study, images=(_gone(study[0]), study[1])).grid(edge=32).size[0] > 32
        _refused(lambda: export(replace(fox, images=(_gone(fox[0]),)), "foxes"))


class TestWhatIsTaken:
    """What a reference may be, other functions take as well."""

    def test_one_picture_is_exported(self):
        """And lists of Generations and pictures, each once as they come."""
        fox = _fox()
        assert len(list((export(fox[0], "one") / "pictures").iterdir())) == 1
        assert len(list((export([fox, fox[0]], "three") / "pictures").iterdir())) == 3

    def test_a_box_on_what_a_reference_may_be(self):
        """A Generation stands for its first picture, as after --ref."""
        fox, array = _fox(), numpy.zeros((32, 48, 3), "uint8")
        data = fox[0].path.read_bytes()
        for source in (fox, fox[0], str(fox[0].path), fox[0].path, data, bytearray(data), IPythonImage(data=data), fox[0].open(), array):
            assert mask_box(source, 1, 1, 5, 5).size == (48, 32)
        assert mask_box(WHITE, numpy.int64(1), 1, 5, 5).getpixel((1, 1))[3] == 0

    def test_a_mask_of_what_a_reference_may_be(self):
        """Of a black-and-white one."""
        WHITE.save("white.png")
        image = replace(saved("a fox")[0], path=Path("white.png").absolute())
        made = Generation((image,), image.request, "evolink", 1.0, ())
        for source in (made, image, "white.png", Path("white.png"), Path("white.png").read_bytes(), WHITE):
            assert mask_from(source).getpixel((0, 0)) == (255, 255, 255, 0)

    def test_one_secret_is_a_text(self):
        """Not its letters."""
        place = export(saved("a fox in the snow"), "foxes", secrets="snow")
        assert "a fox in the [key]" in (place / "pictures.csv").read_text(encoding="utf-8-sig")
