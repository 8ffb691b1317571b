"""Hostile PASCAL VOC: XML that grows, reads other files or is none, and lists that lead elsewhere."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Mixed = Callable[..., st.SearchStrategy[Any]]

XML = b"""<?xml version="1.0"?><annotation><size><width>6</width><height>8</height></size>
<object><name>dog</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"""
LAUGHS = b"<!DOCTYPE a [<!ENTITY l0 'ha'>%s]>" % b"".join(
    b"<!ENTITY l%d '%s'>" % (number, b"&l%d;" % (number - 1) * 10) for number in range(1, 10)
)
ATTACKS = [
    LAUGHS + XML.replace(b"dog", b"&l9;")[21:],
    b"<!DOCTYPE a [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>" + XML.replace(b"dog", b"&f;")[21:],
    b"<!DOCTYPE a SYSTEM 'http://127.0.0.1:9/a.dtd'>" + XML[21:],
    b"<a>" * 300_000,
    b"<a>" * 100_000 + b"</a>" * 100_000,
    b"<annotation " + b"".join(b"a%d='' " % number for number in range(50_000)) + b"/>",
    b"",
    b"\0",
    XML.decode().encode("utf-16"),
    XML.replace(b'"1.0"', b'"1.0" encoding="rot13"'),
    XML.replace(b'"1.0"', b'"1.0" encoding="no-such"'),
    XML.replace(b'"1.0"', b'"1.0" encoding="utf-7"'),
    XML.replace(b"dog", b"\xff\xfe"),
    ("link", "/dev/zero"),
    ("link", "../../../outside/secret"),
    ("pipe", ""),
    ("folder", ""),
]
NUMBERS = [b"nan", b"inf", b"-inf", b"1e400", b"1" * 5000, b"-1", b"0", b"1e9", b"", b"0x9", b"1_0", b"<b/>", b"65536"]
NAMES = [
    *(b"../../../outside/secret", b"/etc/passwd", b"a/../a", b"..", b".", b"a\0", b"\xff", b"x" * 300, b"a\na", b""),
    *(b"circle", b"zero", b"pipe", b"missing", b"a 1\n"),
]
AROUND: dict[str, Any] = {
    "VOC/JPEGImages/a.jpg": b"an image",
    **{
        f"VOC/{folder}/{name}{suffix}": content
        for folder, suffix in (("Annotations", ".xml"), ("JPEGImages", ".jpg"))
        for name, content in {
            "circle": ("link", f"circle{suffix}"),
            "zero": ("link", "/dev/zero"),
            "pipe": ("pipe", ""),
        }.items()
    },
}


def files(xml: Any = XML, listed: Any = b"a\n") -> tuple[dict[str, Any], list[str]]:
    return {**AROUND, "VOC/Annotations/a.xml": xml, "VOC/ImageSets/Main/val.txt": listed}, []


def test_hostile_vocs_are_measured_on_or_refused_in_one_line(
    fuzz: Any, mutated: Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]], mixed: Mixed
) -> None:
    inputs = mixed(
        (3, mutated(st.just(XML)).map(files)),
        (1, mutated(st.just(b"a\n")).map(lambda listed: files(listed=listed))),
    )
    known = [files(attack) for attack in ATTACKS]
    known += [
        files(XML.replace(b">%s<" % old, b">%s<" % new, 1)) for old in (b"6", b"8", b"1", b"4") for new in NUMBERS
    ]
    known += [files(listed=name) for name in NAMES]
    fuzz("pascal_voc", files(), inputs, known)
