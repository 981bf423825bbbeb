"""The XMP packet (ISO 16684-1) that says how a picture was made: written, added to another's, and read.

`dc:description` is the prompt; `xmp:CreateDate`, `xmp:CreatorTool`; IPTC's `Iptc4xmpExt:DigitalSourceType`, `AIPromptInformation` and
`AISystemUsed` (IPTC Photo Metadata Standard 2025.1); and what has no standard name in a namespace of our own.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.imaging.metadata.provenance import TOOL, Origin

T = TypeVar("T")

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NAMESPACE = "urn:imagegen-magic:xmp:1.0/"
MOST = 1 << 20  # bytes of a packet that is written or read

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "imagegen": NAMESPACE,
}
_OURS = re.compile(rf'<rdf:Description [^>]*xmlns:imagegen="{re.escape(NAMESPACE)}".*?</rdf:Description>\n?', re.DOTALL)
_CLOSING = re.compile(r"</(?:[A-Za-z_][\w.-]*:)?RDF\s*>")
_EMPTY_RDF = re.compile(r"<((?:[A-Za-z_][\w.-]*:)?RDF)\b([^>]*)/>")
_DECLARATION = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0
_TOOL_NAME = f"{{{_SPACES['xmp']}}}CreatorTool"


def packet(origin: Origin, existing: str | None, most: int) -> bytes:
    """Return the packet, together with somebody else's where a picture has one, in at most so many bytes.

    What does not fit is left out or cut, and `shortened` says so: first what was sent, then what was asked, then the prompt's end.
    Raises UnsupportedOption where the other leaves no room.
    """
    other = _other(existing)
    for prompt_too, kept in _lesser(origin):
        whole = _whole(kept, other, prompt_too=prompt_too)
        if len(whole) <= most:
            return whole
    return _cut(kept, other, most)


def origin(packet: str) -> Origin | None:
    """Return what a packet tells of a picture's making, None where it is not one of ours. Raises ImageInvalid where it is no XMP."""
    properties = _properties(packet)
    own = {name.removeprefix(f"{{{NAMESPACE}}}"): value for name, value in properties.items() if name.startswith(f"{{{NAMESPACE}}}")}
    tool = own.get("tool") or properties.get(_full_name("xmp:CreatorTool"), "")
    if not own and not tool.startswith(TOOL):
        return None
    repeated = own.get("prompted", "").split()
    described = properties.get(_full_name("dc:description"), "") if "description" in repeated else ""
    prompt = _of_json(own.get("prompt", ""), described)
    return Origin(
        prompt=prompt,
        asked=_prompted(_of_json(own.get("asked", ""), {}), prompt, "asked" in repeated),
        sent=_prompted(_of_json(own.get("sent", ""), {}), prompt, "sent" in repeated),
        gateway=own.get("gateway", ""),
        model=own.get("model", ""),
        task_id=own.get("taskId", ""),
        created=own.get("created") or properties.get(_full_name("xmp:CreateDate"), ""),
        tool=tool,
        sha256=own.get("original", ""),
        shortened=tuple(own.get("shortened", "").split()),
    )


def _other(existing: str | None) -> str | None:
    """Return somebody else's packet without what we added to it before; None where there is none that can be read and added to."""
    if existing is None:
        return None
    try:
        other = _OURS.sub("", existing)
        other = _without_ours(other) if NAMESPACE in other else other
        return (
            other
            if f"{{{NAMESPACE}}}tool" in _properties(_added(other, _description(Origin(), {_TOOL_NAME: ""}, prompt_too=False)))
            else None
        )
    except ImageInvalid:
        return None


def _without_ours(packet: str) -> str:
    """Return a packet that another program has written anew, without our properties."""
    root = _parsed(packet)
    for description in _descriptions(root):
        for element in [each for each in description if each.tag.startswith(f"{{{NAMESPACE}}}")]:
            description.remove(element)
        for name in [each for each in description.attrib if each.startswith(f"{{{NAMESPACE}}}")]:
            del description.attrib[name]
    return ElementTree.tostring(root, encoding="unicode")


def _added(other: str, description: str) -> str:
    """Return a packet with one more description at its end."""
    opened = _EMPTY_RDF.sub(r"<\1\2></\1>", other, count=1)
    ends = list(_CLOSING.finditer(opened))
    return opened[: ends[-1].start()] + description + opened[ends[-1].start() :] if ends else opened


def _lesser(origin: Origin) -> Iterator[tuple[bool, Origin]]:
    """Yield an origin with less and less of what says something twice, and whether to repeat the prompt under its IPTC name."""
    yield True, origin
    yield False, origin
    for names in (("sent",), ("sent", "asked")):
        cut = tuple(name for name in names if getattr(origin, name))
        left_out: dict[str, Any] = {name: {} for name in cut}
        yield False, replace(origin, **left_out, shortened=(*origin.shortened, *cut))


def _cut(origin: Origin, other: str | None, most: int) -> bytes:
    """Return the packet with as much of the prompt's beginning as there is room for."""

    def cut(length: int) -> bytes:
        less = replace(origin, prompt=origin.prompt[:length] + "…", shortened=(*origin.shortened, "prompt"))
        return _whole(less, other, prompt_too=False)

    length = bisect_right(range(len(origin.prompt)), most, key=lambda length: len(cut(length))) - 1
    if length < 0:
        what = "the picture carries so much XMP of its own that nothing can be added"
        raise UnsupportedOption(what, option="metadata", value="full", allowed=("none",))
    return cut(length)


def _whole(origin: Origin, other: str | None, *, prompt_too: bool) -> bytes:
    taken = _properties(other) if other else {}
    description = _description(origin, taken, prompt_too=prompt_too)
    if other is not None:
        return _added(other, description).encode()
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'{description}</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def _description(origin: Origin, taken: Mapping[str, str], *, prompt_too: bool) -> str:
    """Return the one description that is ours; a standard property that somebody else has set already is not set again."""
    described = f"{{{_SPACES['dc']}}}description" not in taken
    standard = {
        "dc:description": f'<rdf:Alt><rdf:li xml:lang="x-default">{_text(origin.prompt)}</rdf:li></rdf:Alt>' if origin.prompt else "",
        "xmp:CreateDate": _text(origin.created),
        "xmp:CreatorTool": _text(origin.tool),
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
        "Iptc4xmpExt:AISystemUsed": _text(origin.model),
        "Iptc4xmpExt:AIPromptInformation": _text(origin.prompt) if prompt_too else "",
    }
    lines = [f"<{name}>{value}</{name}>" for name, value in standard.items() if value and _full_name(name) not in taken]
    lines += [f"<imagegen:{name}>{_text(value)}</imagegen:{name}>" for name, value in _own(origin, described, taken).items() if value]
    spaces = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in _SPACES.items())
    return f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="" {spaces}>\n' + "\n".join(lines) + "\n</rdf:Description>\n"


def _own(origin: Origin, described: bool, taken: Mapping[str, str]) -> dict[str, str]:
    """Return what stands in our namespace: JSON where a plain text would lose something, as XML has no control characters."""
    prompt = origin.prompt
    plain = described and not _ILLEGAL.search(prompt)
    repeated = [name for name in ("asked", "sent") if prompt and getattr(origin, name).get("prompt") == prompt]
    described_too = ["description"] if prompt and plain else []
    return {
        "prompt": "" if plain else _json(prompt),
        "asked": _json(_unprompted(origin.asked, "asked" in repeated)),
        "sent": _json(_unprompted(origin.sent, "sent" in repeated)),
        "prompted": " ".join([*described_too, *repeated]),
        "gateway": origin.gateway,
        "model": origin.model,
        "taskId": origin.task_id,
        "original": origin.sha256,
        "shortened": " ".join(dict.fromkeys(origin.shortened)),
        "created": origin.created if _full_name("xmp:CreateDate") in taken else "",
        "tool": origin.tool if _full_name("xmp:CreatorTool") in taken else "",
    }


def _unprompted(options: Mapping[str, Any], repeated: bool) -> dict[str, Any]:
    return {name: value for name, value in options.items() if not (repeated and name == "prompt")}


def _json(value: Any) -> str:
    if not value:
        return ""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return _ILLEGAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _text(text: str) -> str:
    return escape(_ILLEGAL.sub("\ufffd", text), {"\r": "&#13;"})


def _full_name(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_SPACES[prefix]}}}{local}"


def _properties(packet: str) -> dict[str, str]:
    """Return the simple properties of a packet by their full names; of alternatives and lists the first. Raises ImageInvalid."""
    found: dict[str, str] = {}
    for description in _descriptions(_parsed(packet)):
        for name, value in description.attrib.items():
            found.setdefault(name, value)
        for element in description:
            item = element.find(f"*/{{{_RDF}}}li")
            found.setdefault(element.tag, (element if item is None else item).text or "")
    return found


def _parsed(packet: str) -> ElementTree.Element:
    """Return a packet's tree. Raises ImageInvalid where it is no XML, or declares entities, which could grow without bound."""
    if len(packet) > MOST or _DECLARATION.search(packet):
        raise ImageInvalid("its XMP is not read: it is too long, or declares entities")
    try:
        return ElementTree.fromstring(packet.strip("\ufeff\0 \t\r\n"))
    except (ElementTree.ParseError, ValueError) as error:
        raise ImageInvalid(f"its XMP is broken ({error})") from error


def _descriptions(root: ElementTree.Element) -> list[ElementTree.Element]:
    rdf = root if root.tag == f"{{{_RDF}}}RDF" else root.find(f"{{{_RDF}}}RDF")
    return [] if rdf is None else rdf.findall(f"{{{_RDF}}}Description")


def _prompted(options: dict[str, Any], prompt: str, repeated: bool) -> dict[str, Any]:
    return {"prompt": prompt, **options} if repeated else options


def _of_json(text: str, otherwise: T) -> T:
    """Return the value that a text holds where it is of the same type, else the other."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
    return value if isinstance(value, type(otherwise)) else otherwise
