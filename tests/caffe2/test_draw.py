"""The picture of a net."""

import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.draw import dot_source, draw_svg
from roastery.caffe2.nets import Nets, load_nets
from roastery.errors import DrawingUnavailable

MakeNets = Callable[..., Nets]
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    "<b>bold</b>",
    "<<table><tr><td>x</td></tr></table>>",
    "<>",
    'quote " and \\" and \\',
    '"]; evil [shape=circle, href="javascript:alert(1)"',
    "\\N\\G\\E\\l\\r\\n",
    "&lt;script&gt; &amp; &#60;",
    "]]><!-- -->",
    "} digraph { a -> b",
    "é 漢字 \N{PILE OF POO}",
    "x" * 5000,
]


def texts(svg: Path) -> list[str]:
    """All texts of a well-formed SVG."""
    return ["".join(element.itertext()) for element in ElementTree.parse(svg).iter(f"{SVG}text")]


def elements(svg: Path) -> set[str]:
    return {element.tag for element in ElementTree.parse(svg).iter()}


@pytest.mark.graphviz
def test_operators_are_boxes_and_blobs_are_edges(make_nets: MakeNets, tmp_path: Path) -> None:
    lines = [("Conv", ["data", "w", "b"], ["c"], {}), ("Relu", ["c"], ["y"], {})]
    nets = make_nets(lines, inputs=["data", "w", "b"])
    nets.predict_net.op[0].name = "backbone.stem"
    draw_svg(nets.predict_net, tmp_path / "net.svg")
    shown = texts(tmp_path / "net.svg")
    # data: the input and its edge; y: the output. The parameters are a number.
    assert sorted(shown) == sorted(["data", "data", "Conv", "backbone.stem", "2 parameters", "c", "Relu", "y"])
    assert len([e for e in ElementTree.parse(tmp_path / "net.svg").iter(f"{SVG}g") if e.get("class") == "edge"]) == 3


def test_a_blob_that_is_written_again_comes_from_its_last_writer(make_nets: MakeNets) -> None:
    lines = [("Conv", ["data"], ["x"], {}), ("Relu", ["x"], ["x"], {}), ("Sigmoid", ["x"], ["y"], {})]
    source = dot_source(make_nets(lines).predict_net)
    assert [line.split(" [")[0].strip() for line in source.splitlines() if " -> " in line] == [
        "input0 -> op0",
        "op0 -> op1",
        "op1 -> op2",
        "op2 -> output0",
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.graphviz
def test_a_hostile_name_is_shown_and_never_obeyed(tmp_path: Path, name: str) -> None:
    net = caffe2_pb2.NetDef(external_input=["data"], external_output=[name])
    net.op.add(type=name, name=name, input=["data", f"{name}.weight"], output=[name])
    net.op.add(type=name, name=name, input=[name], output=["next"])
    harmless = caffe2_pb2.NetDef(external_input=["data"], external_output=["x"])
    harmless.op.add(type="x", name="x", input=["data", "w"], output=["x"])
    harmless.op.add(type="x", name="x", input=["x"], output=["next"])
    draw_svg(net, tmp_path / "net.svg")
    draw_svg(harmless, tmp_path / "harmless.svg")
    shown = name if len(name) <= 60 else f"{'x' * 40}…{'x' * 19}"
    # dot writes a no-break space where several spaces would run together; here none do.
    assert texts(tmp_path / "net.svg").count(shown) == texts(tmp_path / "harmless.svg").count("x")
    assert elements(tmp_path / "net.svg") == elements(tmp_path / "harmless.svg")
    attributes = {name for e in ElementTree.parse(tmp_path / "net.svg").iter() for name in e.attrib}
    assert not any("href" in attribute or attribute.startswith("on") for attribute in attributes)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\x1bb\x7f", "a\x85b\ufffe"])
@pytest.mark.graphviz
def test_a_control_character_is_replaced(tmp_path: Path, name: str) -> None:
    net = caffe2_pb2.NetDef(external_input=["data"])
    net.op.add(type=name, input=["data"], output=["y"])
    draw_svg(net, tmp_path / "net.svg")
    assert any(text.startswith("a\ufffdb") for text in texts(tmp_path / "net.svg"))


@pytest.mark.graphviz
def test_equal_nets_give_equal_bytes(any_golden: Path, tmp_path: Path) -> None:
    for file in ("a.svg", "b.svg"):
        draw_svg(load_nets(any_golden).predict_net, tmp_path / file)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.graphviz
def test_a_whole_detector_is_drawn_in_seconds(golden_model: Path, tmp_path: Path) -> None:
    net = load_nets(golden_model).predict_net
    started = time.monotonic()
    draw_svg(net, tmp_path / "net.svg")
    assert time.monotonic() - started < 10
    shown = texts(tmp_path / "net.svg")
    assert shown.count("Conv") == sum(operator.type == "Conv" for operator in net.op)
    assert not any(".weight" in text or ".bias" in text for text in shown)


@pytest.mark.graphviz
def test_a_net_without_operators_is_an_empty_picture(tmp_path: Path) -> None:
    draw_svg(caffe2_pb2.NetDef(), tmp_path / "net.svg")
    assert texts(tmp_path / "net.svg") == []


def test_without_dot_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DrawingUnavailable, match="`dot` is not installed; install it"):
        draw_svg(caffe2_pb2.NetDef(), tmp_path / "net.svg")
    assert list(tmp_path.iterdir()) == []


def fake_dot(folder: Path, script: str) -> None:
    (folder / "dot").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "dot").chmod(0o755)


def test_a_dot_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(tmp_path, "exec /bin/sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DrawingUnavailable, match=r"did not draw the net within 0\.2 s"):
        draw_svg(caffe2_pb2.NetDef(), tmp_path / "net.svg", timeout=0.2)
    assert not (tmp_path / "net.svg").exists()


def test_a_dot_that_fails_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(tmp_path, "echo out of memory >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DrawingUnavailable, match="failed: out of memory"):
        draw_svg(caffe2_pb2.NetDef(), tmp_path / "net.svg")
    assert not (tmp_path / "net.svg").exists()
