"""The XMP packet (ISO 16684-1) that says how an image was made: written and read.

`dc:description` is the prompt; `xmp:CreateDate`, `xmp:CreatorTool`; IPTC's `Iptc4xmpExt:DigitalSourceType`, `AIPromptInformation` and
`AISystemUsed` (IPTC Photo Metadata Standard 2025.1). What has no standard name stands in a namespace of our own.
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

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.imaging.metadata.provenance import TOOL, Origin

T = TypeVar("T")

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NAMESPACE = "urn:imagegen-magic:xmp:1.0/"
MAX_PACKET = 1 << 20  # bytes of a packet that is written or read

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "imagegen": NAMESPACE,
}
_DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in _SPACES.items())
_HEAD = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="{_RDF}">\n'
    f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="" {_DECLARED}>\n'
)
_TAIL = '\n</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
_DECLARATION = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def packet(origin: Origin, limit: int) -> bytes:
    """Return the packet in at most `limit` bytes, 4,000 or more.

    What does not fit is left out or cut, and `shortened` names it: first what was sent, then what was asked, then the prompt's end.
    """
    for prompt_again, reduced in _reductions(origin):
        content = _packed(reduced, prompt_again=prompt_again)
        if len(content) <= limit:
            return content
    return _cut(reduced, limit)


def is_ours(packet: str) -> bool:
    """Return whether `packet` wrote all of it, so that nothing of another tool is lost with it."""
    return packet.startswith(_HEAD) and packet.endswith(_TAIL) and packet.count("<rdf:Description") == 1


def origin(packet: str) -> Origin | None:
    """Return how a packet says its image was made; None if it holds no record of ours. Raises ImageInvalid if it is no XMP.

    Version 0.1.0 added its description to another tool's packet; that is read, too.
    """
    properties = _properties(packet)
    own = {name.removeprefix(f"{{{NAMESPACE}}}"): value for name, value in properties.items() if name.startswith(f"{{{NAMESPACE}}}")}
    tool = own.get("tool") or properties.get(_full_name("xmp:CreatorTool"), "")
    if not own and not tool.startswith(TOOL):
        return None
    repeated = own.get("prompted", "").split()
    described = properties.get(_full_name("dc:description"), "") if "description" in repeated else ""
    prompt = _from_json(own.get("prompt", ""), described)
    return Origin(
        prompt=prompt,
        asked=_with_prompt(_from_json(own.get("asked", ""), {}), prompt, "asked" in repeated),
        sent=_with_prompt(_from_json(own.get("sent", ""), {}), prompt, "sent" in repeated),
        gateway=own.get("gateway", ""),
        model=own.get("model", ""),
        task_id=own.get("taskId", ""),
        created=own.get("created") or properties.get(_full_name("xmp:CreateDate"), ""),
        tool=tool,
        sha256=own.get("original", ""),
        shortened=tuple(own.get("shortened", "").split()),
    )


def _reductions(origin: Origin) -> Iterator[tuple[bool, Origin]]:
    """Yield an origin with less and less in it, and whether the prompt is repeated under its IPTC name."""
    yield True, origin
    yield False, origin
    for names in (("sent",), ("sent", "asked")):
        cut = tuple(name for name in names if getattr(origin, name))
        left_out: dict[str, Any] = {name: {} for name in cut}
        yield False, replace(origin, **left_out, shortened=(*origin.shortened, *cut))


def _cut(origin: Origin, limit: int) -> bytes:
    """Return the packet with as much of the prompt's beginning as fits."""

    def cut(length: int) -> bytes:
        shorter = replace(origin, prompt=origin.prompt[:length] + "…", shortened=(*origin.shortened, "prompt"))
        return _packed(shorter, prompt_again=False)

    return cut(max(0, bisect_right(range(len(origin.prompt)), limit, key=lambda length: len(cut(length))) - 1))


def _packed(origin: Origin, *, prompt_again: bool) -> bytes:
    standard = {
        "dc:description": f'<rdf:Alt><rdf:li xml:lang="x-default">{_text(origin.prompt)}</rdf:li></rdf:Alt>' if origin.prompt else "",
        "xmp:CreateDate": _text(origin.created),
        "xmp:CreatorTool": _text(origin.tool),
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
        "Iptc4xmpExt:AISystemUsed": _text(origin.model),
        "Iptc4xmpExt:AIPromptInformation": _text(origin.prompt) if prompt_again else "",
    }
    own = {f"imagegen:{name}": _text(value) for name, value in _own(origin).items()}
    lines = [f"<{name}>{value}</{name}>" for name, value in (standard | own).items() if value]
    return (_HEAD + "\n".join(lines) + _TAIL).encode()


def _own(origin: Origin) -> dict[str, str]:
    """Return what stands in our namespace: JSON if a plain text would lose something, as XML has no control characters."""
    prompt = origin.prompt
    repeated = [name for name in ("asked", "sent") if prompt and getattr(origin, name).get("prompt") == prompt]
    plain = not _ILLEGAL.search(prompt)
    return {
        "prompt": "" if plain else _json(prompt),
        "asked": _json(_without_prompt(origin.asked, "asked" in repeated)),
        "sent": _json(_without_prompt(origin.sent, "sent" in repeated)),
        "prompted": " ".join([*(["description"] if prompt and plain else []), *repeated]),
        "gateway": origin.gateway,
        "model": origin.model,
        "taskId": origin.task_id,
        "original": origin.sha256,
        "shortened": " ".join(dict.fromkeys(origin.shortened)),
    }


def _without_prompt(options: Mapping[str, Any], repeated: bool) -> dict[str, Any]:
    return {name: value for name, value in options.items() if not (repeated and name == "prompt")}


def _with_prompt(options: dict[str, Any], prompt: str, repeated: bool) -> dict[str, Any]:
    return {"prompt": prompt, **options} if repeated else options


def _json(value: Any) -> str:
    if not value:
        return ""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return _ILLEGAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _from_json(text: str, default: T) -> T:
    """Return the value in a text if it has the type of `default`, else that."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return default
    return value if isinstance(value, type(default)) else default


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
    """Return a packet's tree. Raises ImageInvalid if it is no XML, or declares entities, which could grow without bound."""
    if len(packet) > MAX_PACKET or _DECLARATION.search(packet):
        raise ImageInvalid("its XMP is not read: it is too long, or declares entities")
    try:
        return ElementTree.fromstring(packet.strip("\ufeff\0 \t\r\n"))
    except (ElementTree.ParseError, ValueError) as error:
        raise ImageInvalid(f"its XMP is broken ({error})") from error


def _descriptions(root: ElementTree.Element) -> list[ElementTree.Element]:
    rdf = root if root.tag == f"{{{_RDF}}}RDF" else root.find(f"{{{_RDF}}}RDF")
    return [] if rdf is None else rdf.findall(f"{{{_RDF}}}Description")
