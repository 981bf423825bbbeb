"""From an array to an image, by its own shape and type, so that numpy is not imported."""

from __future__ import annotations

from typing import Any

from PIL import Image

from imagegen_magic.errors import UnsupportedOption

_MODES = {3: "RGB", 4: "RGBA"}
_STRIP = 1 << 18  # numbers converted at a time: a whole copy in floats would take four times the picture
_ACCEPTED = "an array is read as height × width (grey), × 3 (RGB) or × 4 (RGBA), in uint8 from 0 to 255 or in floats from 0 to 1"


def is_array(source: object) -> bool:
    """Return whether it looks like an array: shape, dtype, and bytes in C order."""
    return all(hasattr(source, name) for name in ("shape", "dtype", "tobytes", "astype")) and hasattr(source, "__getitem__")


def described(array: Any) -> str:
    """Return shape and type: `480×640×3 uint8`."""
    return f"{'×'.join(str(side) for side in array.shape) or 'no shape'} {array.dtype}"


def from_array(array: Any, *, name: str, option: str = "references") -> Image.Image:
    """Return an array (H×W, H×W×3 or H×W×4; uint8, or floats from 0 to 1) as a picture in L, RGB or RGBA.

    Floats are rounded to the nearest of 256 steps. Raises UnsupportedOption for any other shape, type or value, with what to call.
    """
    _check_shape(array, name, option)
    height, width = array.shape[:2]
    mode = _MODES[array.shape[2]] if len(array.shape) == 3 else "L"
    match array.dtype.kind, array.dtype.itemsize:
        case "u", 1:
            content = array.tobytes()
        case "f", _:
            content = b"".join(_steps(strip, name, option) for strip in _strips(array))
        case _:
            raise _refused(array, name, option, _advice_on_type(array))
    return Image.frombytes(mode, (width, height), content)


def _strips(array: Any) -> list[Any]:
    height, width = array.shape[:2]
    rows = max(1, _STRIP // width)
    return [array[top : top + rows] for top in range(0, height, rows)]


def _steps(strip: Any, name: str, option: str) -> bytes:
    least, most = float(strip.min()), float(strip.max())
    if not (least >= 0 and most <= 1):  # so that a NaN, which is neither, is refused too
        span = f"holds values from {least:g} to {most:g}" if least == least else "holds NaN"
        step = "divide it by 255, or clip it: array.clip(0, 1)" if least >= 0 else "scale it to floats from 0 to 1"
        raise UnsupportedOption(f"{name} {span}", option=option, value=name, hint=f"{_ACCEPTED}; {step if least == least else 'fill it'}")
    scaled: bytes = (strip.astype("float32") * 255 + 0.5).astype("uint8").tobytes()
    return scaled


def _check_shape(array: Any, name: str, option: str) -> None:
    shape = tuple(array.shape)
    if 0 in shape:
        raise _refused(array, name, option, "it is empty")
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in _MODES):
        return
    raise _refused(array, name, option, _advice_on_shape(shape))


def _advice_on_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[2] == 1:
        return "array[:, :, 0] is grey"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return "array[0] is grey" if shape[0] == 1 else "put the channels last: array.transpose(1, 2, 0)"
    return "take one picture of them: array[0]" if len(shape) == 4 else ""


def _advice_on_type(array: Any) -> str:
    if array.dtype.kind == "b":
        return "mask_from(array) makes a mask of true and false"
    if array.dtype.kind in "iu":
        return "array.astype('uint8'), if its values go from 0 to 255"
    return ""


def _refused(array: Any, name: str, option: str, advice: str) -> UnsupportedOption:
    words = f"{_ACCEPTED}; {advice}" if advice else _ACCEPTED
    return UnsupportedOption(f"{name} is an array of {described(array)}", option=option, value=name, hint=words)
