"""The sandbox takes files, shows that it knows its references, and paints inside a mask alone."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from gateway_table import GATEWAYS
from PIL import Image, ImageChops, ImageDraw
from test_sandbox import Box

from imagegen_magic.errors import APIError, AuthenticationError, ReferenceUnreachable
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import LocalImage
from imagegen_magic.sandbox import editing
from imagegen_magic.sandbox.tasks import TaskStore
from imagegen_magic.sandbox.uploads import form

pytestmark = pytest.mark.slow

UPLOAD = {
    "apimart": "/apimart/v1/uploads/images",
    "gccai": "/gccai/v1/uploads/images",
    "evolink": "/evolink/api/v1/files/upload/stream",
}
SIZE = (1024, 1024)


@pytest.fixture
def box() -> Box:
    """Return a sandbox whose tasks take ten seconds of a clock that the test moves."""
    return Box()


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """Return an image as a file."""
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def photo(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """Return a picture of which no two places look alike."""
    across, down = Image.linear_gradient("L").resize(size).rotate(90, expand=False), Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (across.resize(size), down, ImageChops.invert(down))).convert(mode)


def mask(box: tuple[int, int, int, int] = (256, 256, 768, 640), size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a mask that lets a box be painted."""
    made = Image.new("RGBA", size, "black")
    ImageDraw.Draw(made).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(255, 255, 255, 0))
    return made


def upload(box: Box, gateway: str, content: bytes, **more: Any) -> str:
    """Upload a file and return its address as the gateway's provider reads it."""
    response = box.ask("POST", UPLOAD[gateway], files={"file": ("x.png", content, "image/png")}, **more)
    assert response.status_code == 200, response.text
    return get_provider(gateway).read_upload(response.json()).url


def edited(box: Box, gateway: str = "gccai", *, references: list[bytes], through: bytes | None = None, **body: Any) -> Image.Image:
    """Return the picture of an edit."""
    urls = [upload(box, gateway, each) for each in references]
    masked = {"mask_url": upload(box, gateway, through)} if through else {}
    return box.picture(gateway, image_urls=urls, **masked, **{"size": "1024x1024", **body})


def outside(before: Image.Image, after: Image.Image, through: Image.Image) -> int | None:
    """Return the largest change of any pixel that the mask protects."""
    change = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    protected = Image.composite(change, Image.new("RGB", change.size), through.getchannel("A").point(lambda alpha: 255 * (alpha == 255)))
    return max(high for _, high in protected.getextrema())  # type: ignore[misc, union-attr]  # one pair a channel


# files


@pytest.mark.parametrize("gateway", UPLOAD)
def test_an_uploaded_file_is_served_back_as_it_came(box: Box, gateway: str) -> None:
    """The address needs no key, and lives 72 hours."""
    content = encoded(photo((64, 64)), "JPEG")
    url = upload(box, gateway, content)
    assert url.startswith(f"http://sandbox.invalid/files/{gateway}/uploads/")
    assert (box.download(url).content, box.download(url).headers["content-type"]) == (content, "image/jpeg")
    box.clock.now += 72 * 3600 - 5
    assert box.download(url).status_code == 200
    box.clock.now += 10
    assert box.download(url).status_code == 403


def test_apimarts_answer_is_its_pages(box: Box) -> None:
    """Flat, without an end of the address."""
    answer = box.ask("POST", UPLOAD["apimart"], files={"file": ("fox.png", encoded(photo((8, 8))), "image/png")}).json()
    assert set(answer) == {"url", "filename", "content_type", "bytes", "created_at"}
    assert (answer["filename"], answer["content_type"], answer["created_at"]) == ("fox.png", "image/png", 1_800_000_000)


def test_evolinks_answer_is_its_pages(box: Box) -> None:
    """An envelope whose times are written out; the provider reads the end in 72 hours."""
    files = {"file": ("fox.png", encoded(photo((8, 8))), "image/png")}
    answer = box.ask("POST", UPLOAD["evolink"], files=files, data={"uploadPath": "x", "fileName": "fox.png"}).json()
    assert (answer["success"], answer["code"], answer["data"]["file_name"]) == (True, 200, "fox.png")
    assert answer["data"]["expires_at"].endswith("+08:00")
    assert get_provider("evolink").read_upload(answer).expires_at == box.clock.now + 72 * 3600


@pytest.mark.parametrize("gateway", UPLOAD)
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"files": {"file": ("x.txt", b"no picture", "text/plain")}}, 415),
        ({"files": {"file": ("x.bmp", encoded(photo((8, 8)), "BMP"), "image/png")}}, 415),
        ({"files": {"other": ("x.png", encoded(photo((8, 8))), "image/png")}}, 400),
        ({"data": {"file": "text"}, "files": {"other": ("x", b"")}}, 400),
        ({"json": {"file": "x"}}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"files": {"file": ("x.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png")}}, 415),
    ],
    ids=["text", "bmp", "other field", "no file", "json", "no boundary", "broken"],
)
def test_what_is_no_picture_within_the_limits_is_refused(box: Box, gateway: str, sent: dict[str, Any], status: int) -> None:
    """As the provider reads it: an error of the gateway's, certainly refused."""
    response = box.ask("POST", UPLOAD[gateway], **sent)
    assert response.status_code == status
    error = get_provider(gateway).read_error(status, response.json())
    assert isinstance(error, APIError)
    assert error.refused


@pytest.mark.parametrize(("gateway", "most"), [("apimart", 20_000_000), ("gccai", 20_000_000), ("evolink", 100_000_000)])
def test_a_file_above_the_limit_is_refused(box: Box, gateway: str, most: int) -> None:
    """One byte more than the page allows, regardless of the rest of the form."""
    response = box.ask("POST", UPLOAD[gateway], files={"file": ("x.png", bytes(most + 1), "image/png")})
    assert (response.status_code, f"{most // 1_000_000} MB" in response.text) == (413, True)
    assert box.ask("POST", UPLOAD["gccai"], files={"file": ("x.png", bytes(20_000_000), "image/png")}).status_code == 415  # no picture


def test_an_upload_needs_a_key_and_its_address_none(box: Box) -> None:
    """Whoever fetches the file must not send one."""
    response = box.ask("POST", UPLOAD["gccai"], key="bad", files={"file": ("x.png", encoded(photo((8, 8))), "image/png")})
    assert isinstance(get_provider("gccai").read_error(response.status_code, response.json()), AuthenticationError)
    url = upload(box, "gccai", encoded(photo((8, 8))))
    assert box.download(url, key="sk-test").status_code == 400
    assert (box.log()["uploads"], box.log()["downloads_with_key"]) == (2, 1)


def test_an_address_that_was_changed_leads_nowhere(box: Box) -> None:
    """Another name, or another signature."""
    url = upload(box, "gccai", encoded(photo((8, 8))))
    assert box.download(url[:-1]).status_code == 404
    assert box.download(url.replace("/uploads/", "/uploads/0")).status_code == 404
    assert box.ask("GET", "/files/gccai/uploads/..%2F..%2Fx.png", key=None).status_code == 404


def test_xingchao_has_no_upload(box: Box) -> None:
    """Its page names none."""
    assert box.ask("POST", "/xingchao/v1/uploads/images", files={"file": ("x.png", b"", "image/png")}).status_code == 404


def test_files_outlive_the_process_if_there_is_a_home(tmp_path: Path) -> None:
    """A second process serves and knows them; old ones are swept away."""
    first, second = Box(home=tmp_path), Box(home=tmp_path)
    url = upload(first, "gccai", encoded(photo()))
    assert Image.open(io.BytesIO(second.download(url).content)).size == SIZE
    drawn = second.picture("gccai", image_urls=[url], mask_url=upload(second, "gccai", encoded(mask())), size="1024x1024")
    assert outside(photo(), drawn, mask()) == 0
    (old,) = [path for path in (tmp_path / "uploads").iterdir() if path.name in url]
    os.utime(old, (0, 0))
    upload(first, "gccai", encoded(photo((9, 9))))
    assert (second.download(url).status_code, [path.suffix for path in (tmp_path / "uploads").glob(".*")]) == (404, [])


def test_a_form_is_read_whatever_its_bytes() -> None:
    """Line ends, dashes and something like a boundary within a file are kept."""
    content = b"\r\n--x\r\n--\r\n\x00\xff--xy\r\r\n"
    body = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--xyz\r\nContent-Disposition: form-data; name="file"; '
    body += b'filename="f"\r\n\r\n' + content + b"\r\n--xyz--\r\n"
    read = form(body, 'multipart/form-data; boundary="xyz"')
    assert {name: (part.file_name, part.content) for name, part in read.items()} == {"a": ("", b"1"), "file": ("f", content)}


def test_a_part_without_a_name_is_passed_over() -> None:
    """Junk between boundaries breaks nothing."""
    assert form(b"--x\r\njunk\r\n--x--", "multipart/form-data; boundary=x") == {}


# masks


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_only_the_inside_of_a_mask_is_painted(box: Box, kind: str) -> None:
    """At the reference's own size every protected pixel stays exactly as it was; the inside is new."""
    content = encoded(photo(), kind)
    before = Image.open(io.BytesIO(content)).convert("RGB")
    after = edited(box, references=[content], through=encoded(mask()))
    assert (after.size, outside(before, after, mask())) == (SIZE, 0)
    inside = ImageChops.difference(before, after.convert("RGB")).crop((256, 256, 768, 640))
    assert sum(high for _, high in inside.getextrema()) > 60  # type: ignore[misc]


def test_a_soft_mask_paints_half(box: Box) -> None:
    """Half-transparent pixels are half the old and half the new."""
    soft = Image.new("RGBA", SIZE, (0, 0, 0, 128))
    before = Image.new("RGB", SIZE, "white")
    after = edited(box, references=[encoded(before)], through=encoded(soft)).convert("RGB")
    assert min(low for low, _ in after.getextrema()) >= 127  # type: ignore[misc]
    assert after.getextrema() != before.getextrema()


def test_the_reference_is_scaled_to_the_asked_pixels(box: Box) -> None:
    """A small photograph and its mask become the picture that was asked for."""
    small, through = photo((512, 384)), mask((0, 0, 128, 384), (512, 384))
    after = edited(box, references=[encoded(small)], through=encoded(through), size="2048x1536").convert("RGB")
    assert after.size == (2048, 1536)
    right = (600, 0, 2048, 1536)
    change = ImageChops.difference(small.resize((2048, 1536), Image.Resampling.LANCZOS).crop(right), after.crop(right))
    assert max(high for _, high in change.getextrema()) == 0  # type: ignore[misc]


def test_several_pictures_of_one_edit_differ_inside(box: Box) -> None:
    """n = 2 is two paintings, both outside the same."""
    urls = {"image_urls": [upload(box, "gccai", encoded(photo()))], "mask_url": upload(box, "gccai", encoded(mask()))}
    task = box.accepted("gccai", size="1024x1024", n=2, **urls)
    one, other = (Image.open(io.BytesIO(box.download(url).content)).convert("RGB") for url in box.finished("gccai", task))
    assert (one.tobytes() != other.tobytes(), outside(one, other, mask())) == (True, 0)


def test_a_transparent_reference_stays_transparent(box: Box) -> None:
    """Outside the mask its alpha is kept too; as JPEG there is none."""
    cut_out = photo(mode="RGBA")
    cut_out.putalpha(Image.linear_gradient("L").resize(SIZE))
    after = edited(box, references=[encoded(cut_out)], through=encoded(mask()))
    corner = (0, 0, 200, 200)
    assert after.crop(corner).tobytes() == cut_out.crop(corner).tobytes()
    assert edited(box, references=[encoded(cut_out)], through=encoded(mask()), output_format="jpeg").mode == "RGB"


def test_a_transparent_edit_has_alpha(box: Box) -> None:
    """If alpha was requested, the image has it."""
    body = {"model": "gpt-image-1.5-official", "background": "transparent", "size": "1:1"}
    assert edited(box, references=[encoded(photo())], through=encoded(mask()), **body).mode == "RGBA"
    assert edited(box, references=[encoded(photo())], **body).mode == "RGBA"


@pytest.mark.parametrize(
    ("through", "words"),
    [
        (mask(size=(512, 512)), "same dimensions"),
        (mask().convert("RGB"), "alpha channel"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(box: Box, through: Image.Image, words: str) -> None:
    """Other pixels than the first reference, or no alpha."""
    urls = {"image_urls": [upload(box, "gccai", encoded(photo()))], "mask_url": upload(box, "gccai", encoded(through))}
    response = box.submit("gccai", **urls)
    assert (response.status_code, words in response.text) == (400, True)
    made = box.finished("gccai", box.accepted("gccai", size="1024x1024"))
    assert box.submit("gccai", image_urls=made, mask_url=urls["mask_url"]).status_code == 400


def test_a_mask_beside_a_stranger_is_taken_at_its_word(box: Box) -> None:
    """The sandbox fetches nothing from elsewhere: it draws a new image, and does not fail."""
    through = upload(box, "gccai", encoded(mask()))
    assert box.picture("gccai", image_urls=["https://x.example/a.png"], mask_url=through, size="1024x1024").size == SIZE
    known = upload(box, "gccai", encoded(photo()))
    assert box.picture("gccai", image_urls=[known], mask_url="https://x.example/m.png", size="1024x1024").size == SIZE


def test_a_mask_that_lets_nothing_be_painted_gives_the_reference_back() -> None:
    """Nothing to paint is nothing painted."""
    assert editing.inpainted(photo(), Image.new("RGBA", SIZE, "black"), SIZE, lambda width, height: photo()).tobytes() == photo().tobytes()


# references without a mask, and chains


@pytest.mark.parametrize("gateway", UPLOAD)
def test_a_reference_shows_through(box: Box, gateway: str) -> None:
    """A white reference makes a light picture, a black one a dark picture of the same prompt."""
    light, dark = (edited(box, gateway, references=[encoded(Image.new("RGB", SIZE, ink))]).convert("L") for ink in ("white", "black"))
    assert light.getextrema()[0] >= 127  # type: ignore[operator]
    assert dark.getextrema()[1] <= 128  # type: ignore[operator]


def test_every_reference_of_several_shows_through(box: Box) -> None:
    """Side by side, in order; one that lies elsewhere takes no room."""
    white, black = (encoded(Image.new("RGB", SIZE, ink)) for ink in ("white", "black"))
    after = edited(box, references=[white, black]).convert("L")
    assert after.crop((0, 0, 512, 1024)).getextrema()[0] >= 127  # type: ignore[operator]
    assert after.crop((512, 0, 1024, 1024)).getextrema()[1] <= 128  # type: ignore[operator]
    url = upload(box, "gccai", white)
    alone = box.picture("gccai", image_urls=["https://x.example/a.png", url], size="1024x1024").convert("L")
    assert alone.getextrema()[0] >= 127  # type: ignore[operator]


def test_without_references_nothing_has_changed(box: Box) -> None:
    """Addresses elsewhere are not fetched, and the drawing is the same as without them."""
    plain, strange = (
        box.picture("evolink", size="1024x1024"),
        Box().picture("evolink", size="1024x1024", image_urls=["https://x.example/a.png"]),
    )
    assert plain.tobytes() == strange.tobytes()


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_earlier_result_is_a_reference(box: Box, gateway: str) -> None:
    """By its own address, without any upload, in each dialect."""
    first = box.finished(gateway, box.accepted(gateway, prompt="a quiet lake", size="1024x1024"))
    chained = box.picture(gateway, prompt="at night", image_urls=first, size="1024x1024")
    alone = Box().picture(gateway, prompt="at night", size="1024x1024")
    assert chained.tobytes() != alone.tobytes()
    lake = Image.open(io.BytesIO(box.download(first[0]).content)).convert("RGB")
    assert chained.convert("RGB").tobytes() == Image.blend(alone.convert("RGB"), lake, 0.5).tobytes()


def test_a_chain_of_edits_keeps_what_was_never_painted(box: Box) -> None:
    """Twice edited, elsewhere each time: the rest is still the first picture's, to the pixel."""
    start = box.finished("gccai", box.accepted("gccai", prompt="a quiet lake", size="1024x1024"))
    before = Image.open(io.BytesIO(box.download(start[0]).content))
    left, right = mask((0, 0, 300, 1024)), mask((700, 0, 1024, 1024))
    once = box.accepted("gccai", image_urls=start, mask_url=upload(box, "gccai", encoded(left)), size="1024x1024")
    twice = box.picture("gccai", image_urls=box.finished("gccai", once), mask_url=upload(box, "gccai", encoded(right)), size="1024x1024")
    middle = (300, 0, 700, 1024)
    assert before.convert("RGB").crop(middle).tobytes() == twice.convert("RGB").crop(middle).tobytes()
    assert before.convert("RGB").tobytes() != twice.convert("RGB").tobytes()


def unreachable(box: Box, url: str) -> bool:
    """Say whether a submission with this reference is refused for it, as the provider reads the refusal."""
    response = box.submit("gccai", image_urls=[url])
    error = get_provider("gccai").read_error(response.status_code, response.json()) if response.status_code >= 400 else None
    return isinstance(error, ReferenceUnreachable) and error.refused


def test_a_reference_that_is_gone_is_refused(box: Box) -> None:
    """Expired: results live a day, files three."""
    file, made = upload(box, "gccai", encoded(photo())), box.finished("gccai", box.accepted("gccai"))[0]
    assert [unreachable(box, url) for url in (file, made)] == [False, False]
    box.clock.now += 24 * 3600
    assert [unreachable(box, url) for url in (file, made)] == [False, True]
    box.clock.now += 48 * 3600
    assert [unreachable(box, url) for url in (file, made)] == [True, True]


def test_a_reference_that_never_was_is_refused(box: Box) -> None:
    """Another sandbox's file and picture, and an address that was changed."""
    other = Box()
    strange, made = upload(other, "gccai", encoded(photo((33, 33)))), other.finished("gccai", other.accepted("gccai"))[0]
    file = upload(box, "gccai", encoded(photo()))
    assert [unreachable(box, url) for url in (strange, made, file[:-1])] == [True] * 3
    assert box.log()["accepted"] == 0


def test_another_process_of_the_same_home_knows_the_results(tmp_path: Path) -> None:
    """A picture made before is a reference after a restart."""
    first = Box(home=tmp_path)
    made = first.finished("gccai", first.accepted("gccai", size="1024x1024"))
    second = Box(home=tmp_path)
    chained = second.picture("gccai", prompt="at night", image_urls=made, size="1024x1024")
    assert chained.tobytes() != Box().picture("gccai", prompt="at night", size="1024x1024").tobytes()


def test_an_earlier_result_can_be_a_mask(box: Box) -> None:
    """One with a transparent ground, as the gateways would take it."""
    cut_out = box.finished("gccai", box.accepted("gccai", model="gpt-image-1.5-official", background="transparent", size="1:1"))[0]
    through = Image.open(io.BytesIO(box.download(cut_out).content))
    after = box.picture("gccai", image_urls=[upload(box, "gccai", encoded(photo()))], mask_url=cut_out, size="1024x1024")
    assert outside(photo(), after, through) == 0


def test_tasks_of_before_are_still_read(tmp_path: Path) -> None:
    """A home's file without references and masks is a home's file."""
    box = Box(home=tmp_path)
    task = box.accepted("gccai")
    (file,) = tmp_path.glob("tasks-*.jsonl")
    values = json.loads(file.read_text().splitlines()[0])  # the next line holds what later versions added
    file.write_text(json.dumps({key: value for key, value in values.items() if key not in ("sources", "mask")}) + "\n")
    store = TaskStore(tmp_path)
    store.refresh()
    found = store.get(task)
    assert found is not None
    assert (found.sources, found.mask, found.body) == ((), "", "")


def test_a_measuring_sandbox_draws_one_sheet_whatever_the_references() -> None:
    """`plain` is for measuring."""
    box = Box(plain=True)
    with_one, without = edited(box, references=[encoded(photo())]), box.picture("gccai", size="1024x1024")
    assert with_one.tobytes() == without.tobytes()


def test_the_upload_that_a_provider_describes_is_taken(box: Box) -> None:
    """Field, name and form as the plan says them, in each dialect."""
    content = encoded(photo((8, 8)))
    for gateway, path in UPLOAD.items():
        call = get_provider(gateway).upload_call(LocalImage(content, "image/png", 8, 8, "fox.png"))
        files = {call.field_name: (call.file_name, content, call.content_type)}
        assert path.endswith(call.address.partition("evolink.ai")[2] or call.address)
        assert box.ask(call.method, path, files=files, data=dict(call.form)).status_code == 200
