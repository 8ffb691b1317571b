"""A program that was traced is exported from memory, and the ONNX is what its file gives; it is held no longer."""

import gc
import weakref
from pathlib import Path

import pytest

from roastery.export.trace import Traced, load_program
from roastery.results import ArtifactRef, ResolvedModel
from roastery.spec import DatasetSpec, ModelSpec, SampleSpec
from roastery.stages import at_hand, export_onnx, resolve, sample, trace
from roastery.stages.stage import TIMING_FILE, perform
from roastery.store import Store


class Made:
    """Something that a stage has made."""


@pytest.fixture(autouse=True)
def empty() -> None:
    at_hand.keep_of(None)


def sampled(model: ModelSpec, dataset: DatasetSpec, store: Store, count: int) -> tuple[ResolvedModel, ArtifactRef]:
    pinned = perform(resolve.STAGE, resolve.ResolveRequest(model=model.name, spec=model, dataset=dataset), store)
    request = sample.SampleRequest(
        model=model.name,
        resolved=pinned.model(model),
        dataset=dataset,
        pinned=pinned.facts.dataset,
        sample=SampleSpec(n=count),
    )
    return request.resolved, perform(sample.STAGE, request, store).artifact


def traced(model: ModelSpec, dataset: DatasetSpec, store: Store) -> ArtifactRef:
    resolved, inputs = sampled(model, dataset, store, 1)
    return perform(trace.STAGE, trace.TraceRequest(model=model.name, resolved=resolved, sample=inputs), store).artifact


def test_what_was_left_is_taken_once_and_only_by_its_digest() -> None:
    made = Made()
    at_hand.leave("trace", "aa", made)
    assert at_hand.take("trace", "aa") is made
    assert at_hand.take("trace", "aa") is None
    at_hand.leave("trace", "aa", made)
    assert at_hand.take("trace", "bb") is None


def test_what_nobody_goes_on_from_is_let_go() -> None:
    made = Made()
    gone = weakref.ref(made)
    at_hand.leave("trace", "aa", made)
    del made
    at_hand.keep_of("trace")
    assert gone() is not None
    at_hand.keep_of(None)
    gc.collect()
    assert gone() is None


def test_a_program_at_hand_is_exported_without_its_file_to_the_same_onnx(
    model: ModelSpec, dataset: DatasetSpec, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def read(path: Path) -> Traced:
        reads.append(path)
        return load_program(path)

    monkeypatch.setattr("roastery.export.trace.load_program", read)
    program = traced(model, dataset, store)
    request = export_onnx.ExportOnnxRequest(model=model.name, program=program)
    at_once = perform(export_onnx.STAGE, request, store).artifact
    assert reads == []
    elsewhere = Store(str(tmp_path / "elsewhere"))
    with elsewhere.build(program.stage, program.key) as build:
        for name in program.files:
            (build.directory / name).write_bytes((store.fetch(program) / name).read_bytes())
    from_file = perform(export_onnx.STAGE, request.model_copy(update={"program": build.ref}), elsewhere).artifact
    assert len(reads) == 1
    assert {name: sha256 for name, sha256 in at_once.files.items() if name != TIMING_FILE} == {
        name: sha256 for name, sha256 in from_file.files.items() if name != TIMING_FILE
    }


def test_a_traced_program_is_let_go_by_a_stage_that_does_not_go_on_from_it(
    model: ModelSpec, dataset: DatasetSpec, store: Store
) -> None:
    program = traced(model, dataset, store)
    digest = program.files[trace.PROGRAM_FILE]
    # More images: another sample, which is not there yet.
    sampled(model, dataset, store, 2)
    assert at_hand.take("trace", digest) is None
