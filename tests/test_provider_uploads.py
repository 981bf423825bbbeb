"""Pictures of this machine in a plan, and each gateway's upload: what is checked before, what would be sent, what the answers mean."""

from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from gateway_table import PROVIDERS, UPLOADING
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ImageGenError,
    NotFound,
    ReferenceUnreachable,
    UnknownProvider,
    UnsupportedOption,
)
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Plan, Provider, UploadCall, Uploaded
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest, LocalImage

A = "https://pictures.example.com/a.png"


def picture(
    name: str = "fox.png", mime_type: str = "image/png", size: tuple[int, int] = (64, 48), colour: str = "teal", **more: Any
) -> LocalImage:
    """Return a picture as it is brought to the plan."""
    out = io.BytesIO()
    Image.new("RGBA" if mime_type == "image/png" else "RGB", size, colour).save(out, mime_type.rpartition("/")[2].upper())
    return LocalImage(out.getvalue(), mime_type, *size, name, **more)


def plan(gateway: str, **requested: Any) -> Plan:
    """Plan a request at a gateway, whose model may follow a slash."""
    name, _, model = gateway.partition("/")
    return get_provider(name).plan(ImageRequest("a red fox", **{"model": model or None, **requested}))


def refused(gateway: str, **requested: Any) -> UnsupportedOption:
    """Return the refusal of a request."""
    with pytest.raises(UnsupportedOption) as caught:
        plan(gateway, **requested)
    assert (caught.value.blame, caught.value.charge) == ("you", "no")
    return caught.value


# in a plan


@pytest.mark.parametrize("gateway", [*UPLOADING, "xingchao", "xingchao/gpt-image-2-r", "gccai/gpt-image-1.5-official"])
def test_a_placeholder_stands_where_the_address_will_be(gateway: str) -> None:
    """In every dialect's own field, beside addresses, and the plan lists what must be brought first."""
    fox = picture()
    made = plan(gateway, references=(A, fox))
    assert (made.calls[0].json or {})["image_urls"] == [A, f"upload:{fox.sha256}"]
    assert made.request.references == (A, fox.placeholder)
    assert made.uploads == (fox,)


def test_what_is_brought_is_listed_once_in_order() -> None:
    """The same bytes under two names are one upload; references come before the mask."""
    fox, again, hen, mask = picture(), picture("copy.png"), picture("hen.png", colour="red"), picture("mask.png", colour="#0000")
    made = plan("gccai", references=(fox, A, again, hen), mask=mask)
    assert made.uploads == (fox, hen, mask)
    assert (made.calls[0].json or {})["mask_url"] == mask.placeholder
    assert len((made.calls[0].json or {})["image_urls"]) == 4


def test_addresses_alone_need_no_upload() -> None:
    """A plan of addresses lists nothing to bring."""
    assert plan("gccai", references=(A,), mask=A).uploads == ()


def test_a_plan_shows_the_name_and_never_the_bytes() -> None:
    """What was asked keeps a picture's name, and its repr no content."""
    fox = picture("photo.jpg", "image/jpeg")
    assert ImageRequest("x", references=(fox,)).asked()["references"] == ["photo.jpg"]
    assert repr(fox.data) not in repr(plan("gccai", references=(fox,)))


@pytest.mark.parametrize(("gateway", "most"), [("xingchao", 6), ("gccai/gpt-image-1-official", 15), ("evolink", 16), ("apimart", 16)])
def test_too_many_pictures_are_refused(gateway: str, most: int) -> None:
    """Pictures of this machine count like addresses."""
    refusal = refused(gateway, references=tuple(picture(colour=f"#0000{number:02x}") for number in range(most + 1)))
    assert (refusal.allowed, len(refusal.fix["references"])) == ((f"0 to {most}",), most)


def test_a_kind_that_a_gateway_does_not_take_is_refused() -> None:
    """EvoLink's references are no GIFs; xingchao says nothing, so the usual three."""
    gif = picture("fox.gif", "image/gif")
    assert refused("evolink", references=(gif,)).allowed == ("jpg", "png", "webp")
    assert "png" in refused("xingchao", references=(gif,)).allowed
    assert plan("apimart", references=(gif,)).uploads == (gif,)


def test_a_picture_too_heavy_is_refused_with_the_way_out() -> None:
    """20 MB at apimart and gccai; 50 MB at evolink, the model's own limit below the file host's 100."""
    heavy = LocalImage(b"x" * 20_000_001, "image/jpeg", 8, 8, "heavy.jpg")
    for gateway in ("apimart", "gccai"):
        refusal = refused(gateway, references=(heavy,))
        assert ("at most 20 MB, and heavy.jpg has 20 MB" in refusal.what, "--fit" in refusal.hint) == (True, True)
    assert plan("evolink", references=(heavy,)).uploads == (heavy,)
    assert plan("xingchao", references=(heavy,)).uploads == (heavy,)  # its page says nothing of weight
    heavier = LocalImage(b"x" * 50_000_001, "image/jpeg", 8, 8, "heavier.jpg")
    assert "at most 50 MB" in refused("evolink", references=(heavier,)).what


def test_a_pictures_limits_can_be_asked_before() -> None:
    """So that what prepares a picture knows what fits."""
    every = ("image/jpeg", "image/png", "image/webp", "image/gif")
    web = ("image/jpeg", "image/png", "image/webp")
    assert {name: provider.picture_limits(provider.model()) for name, provider in PROVIDERS.items()} == {
        "apimart": (every, 20_000_000),
        "gccai": (every, 20_000_000),
        "evolink": (web, 50_000_000),
        "xingchao": (web, None),
    }


def test_a_mask_needs_a_reference_and_a_model_that_takes_one() -> None:
    """A mask of this machine is refused like an address."""
    mask = picture("mask.png")
    assert "only with a reference" in refused("gccai", mask=mask).what
    assert "takes no mask" in refused("xingchao", references=(A,), mask=A).what


def test_a_mask_is_a_png() -> None:
    """A JPEG cannot be transparent; the refusal says what makes a mask."""
    refusal = refused("gccai", references=(picture(),), mask=picture("mask.jpg", "image/jpeg"))
    assert (refusal.option, "mask_from(picture)" in refusal.hint) == ("mask", True)


def test_a_mask_has_the_pixels_of_the_first_reference() -> None:
    """Both figures are named; beside an address nothing is known of pixels."""
    mask = picture("mask.png", size=(48, 64))
    refusal = refused("gccai", references=(picture(), picture(size=(48, 64))), mask=mask)
    assert (refusal.option, "mask.png has 48x64" in refusal.what, "fox.png has 64x48" in refusal.what) == ("mask", True, True)
    assert plan("gccai", references=(A,), mask=mask).uploads == (mask,)


@pytest.mark.parametrize("option", ["references", "mask"])
@pytest.mark.parametrize(
    ("address", "what", "step"),
    [
        ("file:///home/me/fox.png", "a file of this machine", "without file://"),
        ("data:image/png;base64,AAAA", "no data: addresses", "bytes, a file or a variable"),
        ("https://[fe80::1]/a.png", "fe80::1 is a link-local, metadata or reserved address", "uploaded"),
        ("http://169.254.169.254/latest/meta-data", "link-local, metadata or reserved", "uploaded"),
        ("https://me:secret@pictures.example.com/a.png", "or a password, as 'https://pictures.example.com/a.png' is", "uploaded"),
        ("https://token@pictures.example.com/a.png", "no address with a user name or a password", "uploaded"),
        ("fox.png", "is no address", "uploaded"),
        (7, "is no address", "uploaded"),
    ],
)
def test_an_address_that_no_gateway_can_fetch_has_its_own_words(option: str, address: Any, what: str, step: str) -> None:
    """Link-local, with a password, file, data and no address at all, each with what to do."""
    requested = {"references": (address,)} if option == "references" else {"references": (A,), "mask": address}
    refusal = refused("gccai", **requested)
    assert (refusal.option, what in refusal.what, step in refusal.hint) == (option, True, True), str(refusal)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8001/a.png",
        "https://localhost/a.png",
        "http://sandbox.invalid/files/x/y/0.png",
        "http://10.1.2.3/a.png",
        "http://files.lab.example/a.png",
    ],
)
def test_whether_a_gateway_is_in_the_network_of_an_address_is_not_the_plans_to_say(address: str) -> None:
    """The sandbox, here or on a socket, and a gateway in a private network may be given addresses of it; the engine knows where it is."""
    assert plan("gccai", references=(address,)).request.references == (address,)


# what would be sent


@pytest.mark.parametrize("gateway", ["apimart", "gccai"])
def test_apimarts_upload(gateway: str) -> None:
    """One field `file`, joined to the base URL."""
    fox = picture()
    name = f"picture-{fox.sha256[:16]}.png"
    assert get_provider(gateway).upload_call(fox) == UploadCall("POST", "/v1/uploads/images", "file", name, "image/png")


def test_evolinks_upload() -> None:
    """Its own file host, with folder and name beside the file."""
    fox = picture(mime_type="image/jpeg")
    name = f"picture-{fox.sha256[:16]}.jpg"
    form = {"uploadPath": "references", "fileName": name}
    address = "https://files-api.evolink.ai/api/v1/files/upload/stream"
    assert get_provider("evolink").upload_call(fox) == UploadCall("POST", address, "file", name, "image/jpeg", form)


@pytest.mark.parametrize("gateway", UPLOADING)
def test_an_upload_never_tells_what_a_file_is_called_at_home(gateway: str) -> None:
    """Neither path nor name leaves this machine."""
    call = get_provider(gateway).upload_call(picture("/home/me/secret project/anna.png"))
    assert not any(word in f"{call.file_name} {dict(call.form)}" for word in ("home", "secret", "anna", "/"))


def test_xingchao_takes_no_files() -> None:
    """Its page knows addresses alone."""
    with pytest.raises(UnsupportedOption, match="xingchao takes no files"):
        get_provider("xingchao").upload_call(picture())


def test_only_evolink_and_fal_name_another_host_as_their_own() -> None:
    """EvoLink its file host, fal the host of its models' schemas, and no other service any."""
    assert {name: get_provider(name).key_hosts for name in registry.BUILT_IN if get_provider(name).key_hosts} == {
        "evolink": ("files-api.evolink.ai",),
        "fal": ("fal.ai",),
    }


@pytest.mark.parametrize("gateway", UPLOADING)
def test_each_upload_is_dated_data(gateway: str) -> None:
    """Limits, lifetime, host and the page they are from."""
    rule = get_provider(gateway).upload
    assert rule is not None
    hosts = {"apimart": "api.apimart.ai", "gccai": "gccai.heqingsong.uk", "evolink": "files-api.evolink.ai"}
    most = {"apimart": 20_000_000, "gccai": 20_000_000, "evolink": 100_000_000}
    assert (rule.host, rule.max_bytes, rule.lifetime) == (hosts[gateway], most[gateway], 72 * 3600)
    assert (datetime.fromisoformat(rule.checked).year, rule.document[:8]) == (2026, "https://")


# what the answers mean

_FLAT = {"url": A, "filename": "x.png", "content_type": "image/png", "bytes": 12, "created_at": 1_800_000_000}
_EVOLINK = {
    "success": True,
    "code": 200,
    "msg": "File uploaded successfully",
    "data": {"file_id": "f1", "file_url": A, "download_url": A + "?2", "expires_at": "2027-01-15T16:00:00+08:00"},
}
_THEN = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("gateway", UPLOADING)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_FLAT, Uploaded(A)),
        (_EVOLINK, Uploaded(A, _THEN)),
        ({"code": 200, "data": _FLAT}, Uploaded(A)),
        ({"code": 200, "data": [_FLAT]}, Uploaded(A)),
        ({"data": {"file": {"url": f" {A}\n"}, "expires_at": int(_THEN)}}, Uploaded(A, _THEN)),
        ({"data": {"url": A, "expiresAt": int(_THEN) * 1000}}, Uploaded(A, _THEN)),
        ({"url": A, "expires_at": "2027-01-15T08:00:00Z"}, Uploaded(A, _THEN)),
        ({"url": A, "expires_at": "2027-01-15 08:00:00"}, Uploaded(A, _THEN)),
        ({"url": A, "expires_at": "soon"}, Uploaded(A)),
        ({"url": A, "expires_at": "2027-99-15T08:00:00Z"}, Uploaded(A)),
        ({"url": A, "expires_at": "0001-01-01T00:00:00+23:59"}, Uploaded(A)),
    ],
)
def test_an_upload_is_read_whatever_its_shape(gateway: str, answer: Any, expected: Uploaded) -> None:
    """Flat or wrapped, a list or an object, times as numbers or written out."""
    assert get_provider(gateway).read_upload(answer) == expected


@pytest.mark.parametrize("answer", [{}, [], "", "<html>", None, {"url": "fox.png"}, {"data": {"url": None}}, {"url": "ftp://x.example/a"}])
def test_an_upload_without_an_address_is_a_plain_error(answer: Any) -> None:
    """Nothing was charged, and what came is shown."""
    with pytest.raises(APIError, match="named no address") as caught:
        get_provider("apimart").read_upload(answer)
    assert (caught.value.blame, caught.value.charge) == ("gateway", "no")


@pytest.mark.parametrize("beside", [{"error": {"code": "", "message": ""}}, {"detail": "stored"}, {"code": "created"}], ids=repr)
def test_an_address_beside_an_empty_error_is_taken(beside: dict[str, Any]) -> None:
    """Where the address is, an error that says nothing is none; `success: false` and a refusing code stay refusals."""
    assert get_provider("apimart").read_upload({"url": A, **beside}) == Uploaded(A)
    for refusing in ({"success": False}, {"code": 413, "message": "too large"}):
        with pytest.raises(APIError):
            get_provider("apimart").read_upload({"url": A, **beside, **refusing})


def test_a_refusal_inside_a_200_is_the_gateways() -> None:
    """`success: false` and an error in the envelope are refusals in the gateway's words."""
    with pytest.raises(APIError, match="the quota of files is used up"):
        get_provider("evolink").read_upload({"success": False, "code": 400, "msg": "the quota of files is used up"})
    with pytest.raises(AuthenticationError):
        get_provider("apimart").read_upload({"error": {"code": "invalid_api_key", "message": "invalid API key"}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["url", "data", "file_url", "expires_at", "error", "code", "success", "files", "x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_no_answer_breaks_the_reader(answer: Any) -> None:
    """Whatever JSON comes, an address is read or an error of ours is raised."""
    with contextlib.suppress(ImageGenError):
        assert get_provider("evolink").read_upload(answer).url.startswith("http")


# an address that the gateway could not fetch


@pytest.mark.parametrize(
    "words",
    [
        "cannot fetch the reference image https://x.example/a.png",
        "Failed to download image from URL",
        "failed to download file: https://x.example/a.png",
        "Error while downloading https://x.example/a.png: invalid image url",
        "Unable to access image_urls[0]",
        "the image could not be fetched",
        "image url is not accessible",
        "image_url unreachable",
        "无法下载图片",
        "参考图下载失败",
        "获取图片超时",
    ],
)
def test_a_reference_that_cannot_be_fetched_is_told_apart(words: str) -> None:
    """In the words of several gateways, and certainly refused."""
    error = get_provider("gccai").read_error(400, {"error": {"code": "", "message": words}})
    assert (type(error), getattr(error, "refused", None), error.charge) == (ReferenceUnreachable, True, "no")
    assert "uploaded" in error.hint


def test_a_code_tells_it_too() -> None:
    """`invalid_image_url`, whatever the words."""
    assert isinstance(
        get_provider("evolink").read_error(400, {"error": {"code": "invalid_image_url", "message": "x"}}), ReferenceUnreachable
    )


def test_upstreams_refusal_at_500_is_one_and_an_outage_is_none() -> None:
    """build_request_failed is known to be a refusal; any other 500 leaves the acceptance open."""
    known = get_provider("apimart").read_error(500, {"error": {"message": "build_request_failed: failed to download image"}})
    open_ended = get_provider("apimart").read_error(500, {"error": {"message": "failed to download image"}})
    assert (type(known), type(open_ended), open_ended.refused) == (ReferenceUnreachable, APIError, False)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "invalid size 'x'", APIError),
        (400, "prompt is required", APIError),
        (400, "n must be a number, not an image", APIError),
        (404, "model not found", NotFound),
        (401, "unable to read image: invalid token", AuthenticationError),
    ],
)
def test_other_refusals_are_not_taken_for_it(status: int, words: str, kind: type) -> None:
    """Only where a picture's address is what failed."""
    assert type(get_provider("evolink").read_error(status, {"error": {"message": words}})) is kind


# gateways of pyproject.toml


def _alike(**table: str) -> Provider:
    return get_provider("mine", {"mine": {"base_url": "https://api.mine.example", **table}})


def test_a_configured_gateway_of_apimart_takes_files_at_its_own_address() -> None:
    """The path joined to its base URL, the host that its page names as its own."""
    mine = _alike(like="apimart")
    assert (mine.upload.address, mine.upload.host, mine.key_hosts) == ("/v1/uploads/images", "api.mine.example", ())  # type: ignore[union-attr]


def test_a_configured_gateway_of_evolink_takes_none_unless_it_says_where() -> None:
    """Its key is no business of evolink's file host."""
    assert (_alike(like="evolink").upload, _alike(like="evolink").key_hosts) == (None, ())
    mine = _alike(like="evolink", upload_url="https://files.mine.example/up")
    call = mine.upload_call(picture())
    assert (call.address, mine.upload.host, mine.key_hosts) == (  # type: ignore[union-attr]
        "https://files.mine.example/up",
        "files.mine.example",
        ("files.mine.example",),
    )
    assert call.form["fileName"] == call.file_name


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"like": "xingchao", "upload_url": "https://files.mine.example/up"}, "dialect has no upload"),
        ({"like": "evolink", "upload_url": "http://files.mine.example/up"}, "upload_url that is no plain https address"),
        ({"like": "evolink", "upload_url": "https://me:pw@files.mine.example/up"}, "upload_url that is no plain https address"),
    ],
)
def test_a_bad_upload_url_is_a_clear_error(table: dict[str, str], words: str) -> None:
    """The table in pyproject.toml is named with what is wrong."""
    with pytest.raises(UnknownProvider, match=words):
        _alike(**table)
