"""A mask says where an edit may paint: made with one call, and checked before anything is sent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.imaging.masks import check_mask, invert, mask_box, mask_from
from imagegen_magic.request import LocalImage

SIDES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def alpha(mask: Image.Image) -> np.ndarray:
    """Return the mask's alpha as an array, having seen that it is RGBA."""
    assert mask.mode == "RGBA"
    return np.asarray(mask)[:, :, 3]


def local(image: Image.Image, name: str = "mask.png", kind: str = "PNG", notes: tuple[str, ...] = ()) -> LocalImage:
    """Return the picture as it would go out."""
    mime_type = f"image/{kind.lower()}"
    return LocalImage(saved(image, kind), mime_type, image.width, image.height, name, notes)


def expected_alpha(array: np.ndarray) -> np.ndarray:
    """Return the alpha of the mask of a grey array: of two values the larger is transparent, of more each is its own shade."""
    if len(np.unique(array)) == 2:
        return np.where(array == array.max(), 0, 255)
    return 255 - (array * (255 if array.max() <= 1 else 1)).astype(int)


PHOTO = local(Image.new("RGB", (64, 48), "teal"), "photo.png")


class TestMaskFrom:
    """White, true and 1 are where to paint: there the mask is transparent."""

    @given(arrays.arrays(np.bool_, SIDES))
    def test_booleans(self, array: np.ndarray) -> None:
        """Of any shape: true becomes transparent, false opaque, pixel by pixel."""
        assert np.array_equal(alpha(mask_from(array)), np.where(array, 0, 255))

    @given(arrays.arrays(st.sampled_from([np.uint8, np.int16, np.int64, np.uint32]), SIDES, elements=st.integers(0, 255)))
    def test_integers(self, array: np.ndarray) -> None:
        """From 0 to 255 they are a grey picture; of two values, as in a segmentation, the larger is true."""
        array = np.vstack([array, np.resize(np.array([0, 255], array.dtype), array.shape[1])])
        if array.min() < array.max():
            assert np.array_equal(alpha(mask_from(array)), expected_alpha(array))

    @given(arrays.arrays(st.sampled_from([np.float16, np.float32, np.float64]), SIDES, elements=st.floats(0, 1, width=16)))
    def test_floats(self, array: np.ndarray) -> None:
        """From 0 to 1, rounded to the nearest step."""
        if len(np.unique(array)) > 2:
            assert np.abs(alpha(mask_from(array)) - (255 - array.astype("float64") * 255)).max() <= 0.51

    def test_shades_that_round_to_two_values(self) -> None:
        """Three shades stay shades, although 8 bits have two values for them: half grey is not black or white."""
        shades = np.array([[0.5, 2**-9, 0.0]], "float16")
        for array in (shades, np.repeat(shades[:, :, None], 3, axis=2)):
            assert alpha(mask_from(array)).tolist() in ([[127, 255, 255]], [[128, 255, 255]])

    @given(arrays.arrays(np.uint8, SIDES))
    def test_views_of_an_array(self, array: np.ndarray) -> None:
        """Turned, flipped and strided views are read as numpy shows them."""
        array = np.vstack([array, np.resize(np.array([0, 1, 255], np.uint8), array.shape[1])])
        for view in (array.T, array[::-1, ::-1], np.asfortranarray(array), array[1:] if len(array) > 2 else array):
            if view.min() < view.max():
                assert np.array_equal(alpha(mask_from(view)), expected_alpha(view))

    @given(SIDES, st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK"]))
    def test_a_black_and_white_picture_in_every_mode(self, shape: tuple[int, int], mode: str) -> None:
        """The left part white, the rest black: the left part is transparent, whatever the mode."""
        height, width = shape
        image = Image.new("L", (width, height), 0)
        image.paste(255, (0, 0, (width + 1) // 2, height))
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
            assert picture.mode == "I;16"
        else:
            picture = image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode)
        assert np.array_equal(alpha(mask_from(picture)), 255 - np.asarray(image))

    @pytest.mark.parametrize("channels", [3, 4])
    def test_an_array_of_a_black_and_white_picture(self, channels: int) -> None:
        """H×W×3 and an opaque H×W×4 are pictures like any other."""
        array = np.zeros((20, 30, channels), np.uint8)
        array[5:10] = 255
        array[:, :, 3:] = 255
        assert np.array_equal(np.unique(np.nonzero(alpha(mask_from(array)) == 0)[0]), np.arange(5, 10))

    def test_a_grey_edge_is_a_soft_edge(self) -> None:
        """Halfway between black and white is half transparent."""
        image = Image.new("L", (3, 3), 100)
        image.putpixel((0, 0), 0)
        image.putpixel((2, 2), 255)
        assert [alpha(mask_from(image))[place, place] for place in range(3)] == [255, 155, 0]

    def test_a_file_by_its_path_or_bytes(self, tmp_path: Path) -> None:
        """The one call takes what the message names: a file, upright as its EXIF says."""
        image = Image.new("L", (30, 20), 0)
        image.paste(255, (0, 0, 10, 20))
        exif = Image.Exif()
        exif[0x0112] = 6
        (tmp_path / "bw.jpg").write_bytes(saved(image, "JPEG", quality=95, exif=exif))
        for picture in (tmp_path / "bw.jpg", str(tmp_path / "bw.jpg"), (tmp_path / "bw.jpg").read_bytes()):
            mask = mask_from(picture)
            assert mask.size == (20, 30)
            assert (mask.getpixel((10, 4))[3], mask.getpixel((10, 25))[3]) == (0, 255)  # type: ignore[index]

    def test_an_image_that_ipython_shows(self) -> None:
        """An object with an image's bytes as its data is read by these."""
        from IPython.display import Image as Shown

        assert alpha(mask_from(Shown(data=saved(Image.new("L", (4, 4), 255))))).max() == 0

    def test_colour_is_refused(self) -> None:
        """A photograph does not say where to paint."""
        with pytest.raises(UnsupportedOption, match=r"in colour.*white = edit here"):
            mask_from(Image.new("RGB", (8, 8), "red"))
        with pytest.raises(UnsupportedOption, match="in colour"):
            mask_from(np.full((8, 8, 3), (200, 10, 10), np.uint8))

    def test_a_mask_is_refused(self) -> None:
        """What is transparent already needs no making, and would turn round."""
        with pytest.raises(UnsupportedOption, match=r"a mask already.*invert\(mask\)"):
            mask_from(mask_box(Image.new("RGB", (8, 8)), 1, 1, 4, 4))

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.array([[0, 7, 300]]), "from 0 to 300.*mask_from\\(array == 3\\)"),
            (np.array([[-1, 0, 1]]), "from -1 to 1"),
            (np.array([[0.0, 1.0, 1.5]]), "from 0 to 1.5"),
            (np.array([[0.0, np.nan]]), "NaN"),
            (np.array([[0.0, np.inf]]), "inf"),
            (np.full((4, 4), 100), "one value alone, 100"),
            (np.full((4, 4), 0.5), "one value alone, 0.5"),
            (np.zeros((0, 4), bool), "empty"),
            (np.zeros((4,), bool), "height × width"),
            (np.zeros((4, 4, 2), np.uint8), "height × width"),
            (np.zeros((2, 2), complex), "complex128"),
            (np.array([["a", "b"]]), "<U1"),
        ],
    )
    def test_other_arrays_are_refused_in_words(self, array: np.ndarray, words: str) -> None:
        """Values, shapes and types that are ambiguous: refused, with what is accepted."""
        with pytest.raises(UnsupportedOption, match=words) as caught:
            mask_from(array)
        assert "Nothing was charged" in str(caught.value)

    def test_what_is_no_picture_is_refused(self) -> None:
        """A number, and a broken file."""
        with pytest.raises(UnsupportedOption, match="of an object of type int"):
            mask_from(3)
        with pytest.raises(ImageInvalid, match="Nothing was charged"):
            mask_from(b"nonsense")


HALF = np.zeros((20, 30), bool)
HALF[:, :12] = True


def in_every_way(low: int, high: int) -> dict[str, Any]:
    """Return one mask of two values in every container and mode that holds them."""
    array = np.where(HALF, high, low)
    grey = Image.fromarray(array.astype("uint8"))
    deep, real = Image.fromarray(array.astype("int32")), Image.fromarray(array.astype("float32"))
    words = Image.fromarray(array.astype("uint16"))
    palette = Image.new("P", grey.size)
    palette.putpalette([low] * 3 + [high] * 3)
    palette.paste(1, (0, 0, 12, 20))
    ways: dict[str, Any] = {
        f"array of {name}": array.astype(name) for name in ("uint8", "int16", "uint16", "int32", "int64", "float32", "float64")
    }
    ways |= {"array of bool": HALF, "array in colour": np.dstack([array.astype("uint8")] * 3)}
    ways |= {f"image in {image.mode}": image for image in (grey, deep, real, words, palette, grey.convert("RGB"), grey.convert("LA"))}
    ways |= {"image in 1": Image.fromarray(HALF)}
    ways |= {
        f"{kind} of {image.mode}": saved(image, kind)
        for kind in ("PNG", "BMP", "TIFF", "GIF", "JPEG2000")
        for image in (grey, grey.convert("RGB"))
    }
    ways |= {f"PNG of {image.mode}": saved(image, "PNG") for image in (palette, words)}
    ways |= {f"TIFF of {image.mode}": saved(image, "TIFF") for image in (palette, words, deep, real)}
    ways |= {"WebP": saved(grey.convert("RGB"), "WEBP", lossless=True)}
    return ways | {f"{kind} of 1": saved(Image.fromarray(HALF), kind) for kind in ("PNG", "BMP", "TIFF", "GIF")}


class TestTwoValues:
    """A picture of exactly two values is black and white, whichever they are and whatever holds them."""

    @pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (3, 4), (100, 200)])
    def test_the_same_mask_whatever_the_container(self, low: int, high: int) -> None:
        """The smaller value is protected, the larger painted."""
        expected = np.where(HALF, 0, 255)
        for way, picture in in_every_way(low, high).items():
            assert np.array_equal(alpha(mask_from(picture)), expected), way

    @pytest.mark.parametrize(("low", "high"), [(-3, 900), (0, 65_535), (4095, 4096)])
    def test_large_numbers(self, low: int, high: int) -> None:
        """Even if they are too close to be two greys."""
        array = np.where(HALF, high, low)
        for picture in (array, array.astype("float64"), Image.fromarray(array.astype("int32")), Image.fromarray(array.astype("float32"))):
            assert np.array_equal(alpha(mask_from(picture)), np.where(HALF, 0, 255))

    @pytest.mark.parametrize(("value", "painted"), [(0, 255), (1, 0), (255, 0)])
    def test_one_value(self, value: int, painted: int) -> None:
        """0 is nowhere, 1 and white are everywhere, in every mode."""
        array = np.full((4, 6), value)
        for picture in (
            array,
            array.astype("uint8"),
            array.astype(float),
            *(Image.fromarray(array.astype(name)) for name in ("uint8", "int32", "float32")),
        ):
            assert np.all(alpha(mask_from(picture)) == painted)

    @pytest.mark.parametrize("mode", ["L", "I", "F"])
    def test_one_grey_is_refused(self, mode: str) -> None:
        """One shade alone says neither."""
        with pytest.raises(UnsupportedOption, match=r"one value alone, 77, which is neither black nor white.*255 where to paint"):
            mask_from(Image.new(mode, (4, 4), 77))

    def test_a_soft_edge_is_the_same_whatever_the_container(self) -> None:
        """Shades from 0 to 255, as floats from 0 to 1, and in 16 bits if a file says what is white."""
        shades = np.linspace(0, 255, 52).astype("uint8")[None].repeat(8, 0)
        words = Image.fromarray(shades.astype("uint16") * 257)
        pictures = [
            shades,
            shades.astype("int32"),
            shades / 255,
            (shades / 255).astype("float32"),
            Image.fromarray(shades),
            Image.fromarray(shades.astype("int32")),
            Image.fromarray((shades / 255).astype("float32")),
            *(saved(Image.fromarray(shades), kind) for kind in ("PNG", "BMP", "TIFF")),
            *(saved(words, kind) for kind in ("PNG", "TIFF")),
            saved(Image.fromarray((shades / 255).astype("float32")), "TIFF"),
        ]
        for picture in pictures:
            assert np.array_equal(alpha(mask_from(picture)), 255 - shades)

    def test_numbers_that_say_no_white_are_refused(self) -> None:
        """More than two values above 255, and no file that says what is white."""
        for picture in (Image.fromarray(np.arange(900, dtype="int32").reshape(30, 30)), np.arange(900).reshape(30, 30)):
            with pytest.raises(UnsupportedOption, match=r"from 0 to 899, from which no mask can be made.*mask_from\(array == 3\)"):
                mask_from(picture)
        hole = np.linspace(0, 1, 9, dtype="float32").reshape(3, 3)
        hole[1, 1] = np.nan
        with pytest.raises(UnsupportedOption, match="NaN"):
            mask_from(Image.fromarray(hole))

    def test_a_closed_image(self, tmp_path: Path) -> None:
        """Said in one line, with what to do."""
        Image.fromarray(HALF).save(tmp_path / "mask.png")
        with Image.open(tmp_path / "mask.png") as mask:
            pass
        with pytest.raises(
            ImageInvalid, match=r"the image is closed.*Open it again and give it while it is open, or give its path"
        ) as caught:
            mask_from(mask)
        assert "Nothing was charged" in str(caught.value)
        assert np.array_equal(alpha(mask_from(tmp_path / "mask.png")), np.where(HALF, 0, 255))


class TestMaskBox:
    """A rectangle to paint."""

    @given(st.data(), st.integers(1, 60), st.integers(1, 60))
    def test_exactly_the_box_is_transparent(self, data: st.DataObject, width: int, height: int) -> None:
        """As large as the picture, transparent from left and top up to before right and bottom, opaque elsewhere."""
        left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
        expected = np.full((height, width), 255)
        expected[top:bottom, left:right] = 0
        assert np.array_equal(alpha(mask_box(Image.new("RGB", (width, height)), left, top, right, bottom)), expected)

    @pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 5, 5, 9), (9, 0, 4, 5), (0, 0, 65, 5), (-1, 0, 5, 5), (0, 0, 5, 49)])
    def test_an_empty_box_or_one_beyond_is_refused(self, box: tuple[int, int, int, int]) -> None:
        """Nothing is clipped silently: the message says what there is."""
        with pytest.raises(UnsupportedOption, match="within 64×48 pixels"):
            mask_box(PHOTO, *box)

    def test_of_whatever_the_mask_is_for(self, tmp_path: Path) -> None:
        """A PIL image, an array, bytes, a path, and what knows its width and height."""
        image = Image.new("RGB", (64, 48))
        (tmp_path / "photo.png").write_bytes(saved(image))
        for source in (image, np.zeros((48, 64, 3), np.uint8), saved(image), tmp_path / "photo.png", str(tmp_path / "photo.png"), PHOTO):
            assert mask_box(source, 1, 2, 3, 4).size == (64, 48)

    def test_upright_as_the_exif_says(self) -> None:
        """The box counts in the pixels that are sent."""
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.open(io.BytesIO(saved(Image.new("RGB", (64, 48)), "JPEG", exif=exif)))
        assert mask_box(image, 0, 0, 48, 64).size == (48, 64)


class TestInvert:
    """What is protected and what is painted change places."""

    @given(arrays.arrays(np.uint8, SIDES))
    def test_alpha_turns_round_and_back(self, array: np.ndarray) -> None:
        """Each alpha becomes 255 minus itself, and twice is nothing."""
        mask = mask_from(np.vstack([array, np.full(array.shape[1], array.max() ^ 1, np.uint8)]))
        assert np.array_equal(alpha(invert(mask)), 255 - alpha(mask))
        assert invert(invert(mask)).tobytes() == mask.tobytes()

    @pytest.mark.parametrize("what", [Image.new("L", (3, 3)), Image.new("RGB", (3, 3)), "mask.png"])
    def test_without_alpha_it_is_refused(self, what: Any) -> None:
        """What has no alpha is no mask yet."""
        with pytest.raises(UnsupportedOption, match=r"no alpha channel.*mask_from\(picture\).*white = edit here"):
            invert(what)


class TestCheckMask:
    """What a mask has to be, known before a cent is spent."""

    @given(arrays.arrays(np.bool_, (48, 64)))
    @settings(max_examples=20)
    def test_a_mask_of_ours_passes_if_it_has_both_values(self, array: np.ndarray) -> None:
        """Whatever is made with `mask_from` is good, but for all and for nothing."""
        mask = local(mask_from(array))
        if array.all() or not array.any():
            with pytest.raises(UnsupportedOption):
                check_mask(mask, PHOTO)
        else:
            check_mask(mask, PHOTO)

    def test_grey_with_alpha_passes(self) -> None:
        """LA has an alpha channel too."""
        check_mask(local(mask_box(PHOTO, 0, 0, 9, 9).convert("LA")), PHOTO)

    @pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
    @pytest.mark.parametrize(
        ("name", "call"), [("mask", "mask_from(mask)"), ("a b.png", "mask_from('a b.png')"), ("@17", "mask_from(picture)")]
    )
    def test_black_and_white_is_refused_with_the_one_call(self, mode: str, name: str, call: str) -> None:
        """The call that turns it into alpha, as it would be typed, and the colour that means edit here."""
        image = Image.new("L", (64, 48), 0)
        image.paste(255, (0, 0, 20, 20))
        with pytest.raises(UnsupportedOption) as caught:
            check_mask(local(image.convert(mode), name), PHOTO)
        assert "has no alpha channel" in str(caught.value)
        assert call in str(caught.value)
        assert "white = edit here" in str(caught.value)
        assert caught.value.option == "mask"

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
    def test_another_format_is_refused(self, kind: str) -> None:
        """Even a WebP with alpha: the gateways document PNG."""
        with pytest.raises(UnsupportedOption, match=rf"is a {kind}, not a PNG with an alpha channel.*mask_from"):
            check_mask(local(Image.new("RGB", (64, 48)), kind=kind), PHOTO)

    def test_a_transparent_palette_is_refused(self) -> None:
        """It is transparent, yet without an alpha channel."""
        image = Image.new("P", (64, 48), 0)
        image.paste(1, (0, 0, 9, 9))
        mask = LocalImage(saved(image, transparency=1), "image/png", 64, 48, "mask")
        with pytest.raises(UnsupportedOption, match=r'without an alpha channel.*convert\("RGBA"\)'):
            check_mask(mask, PHOTO)

    def test_other_pixels_are_refused(self) -> None:
        """The message has both sizes, and why the reference has its own."""
        turned = local(Image.new("RGB", (48, 64)), "photo.jpg", notes=("turned as its EXIF says", "location removed"))
        with pytest.raises(UnsupportedOption) as caught:
            check_mask(local(mask_box(PHOTO, 0, 0, 9, 9)), turned)
        assert "64×48 pixels, and the first reference photo.jpg 48×64 (turned as its EXIF says)" in str(caught.value)

    @pytest.mark.parametrize(
        ("levels", "words"),
        [
            ((255, 255), "nothing in the mask mask.png is fully transparent. "),
            ((9, 255), r"nothing .* is fully transparent \(the least alpha is 9 of 255\)"),
            ((0, 0), "nothing in the mask mask.png is fully opaque, so nothing is protected"),
            ((0, 250), r"nothing .* is fully opaque \(the most alpha is 250 of 255\)"),
        ],
    )
    def test_one_sided_masks_are_refused(self, levels: tuple[int, int], words: str) -> None:
        """Something has to be transparent and something opaque."""
        image = Image.new("RGBA", (64, 48), (0, 0, 0, levels[0]))
        image.paste((0, 0, 0, levels[1]), (10, 10, 20, 20))
        with pytest.raises(UnsupportedOption, match=words):
            check_mask(local(image), PHOTO)

    def test_a_broken_mask_is_ours_to_mend(self) -> None:
        """It never reached a gateway, and the message says so."""
        whole = local(mask_box(PHOTO, 0, 0, 9, 9))
        with pytest.raises(ImageInvalid, match=r"the mask mask\.png: the PNG picture is cut short.*Nothing was charged"):
            check_mask(LocalImage(whole.data[:-20], "image/png", 64, 48, "mask.png"), PHOTO)
