"""Made-up evaluations to write reports of, a real conversion with its report, and a browser to look at them with."""

import json
import math
import shutil

import pytest

from roastery.report.write import write_report
from roastery.results import Evaluation, LatencySummary, ParitySummary, VerdictSummary
from roastery.spec import DatasetSpec, GateSpec, ModelSpec, SampleSpec
from roastery.store import Store


def make_evaluation(**changes):
    figures = {
        "model": "mask_rcnn_r50",
        "original_kind": "reference",
        "dataset": "shapes_val",
        "dataset_sha256": "da" * 32,
        "images": 100,
        "failed_images": (),
        "metrics": {
            "original": {"bbox": {"AP": 62.4725, "APl": None, "AP-circle": 70.0}, "segm": {"AP": 65.911}},
            "torch": {"bbox": {"AP": 62.4726, "APl": None, "AP-circle": 69.5}, "segm": {"AP": 65.911}},
            "caffe2": {"bbox": {"AP": 62.4725, "APl": math.nan, "AP-circle": 70.25}, "segm": {"AP": 65.911}},
        },
        "latency": {"original": LatencySummary(median_ms=31.25, p90_ms=40.0, images=100)},
        "parity": (
            ParitySummary(passed=True, images=4, differences=(), largest={"bbox_nms": 0.000031}, runtime="caffe2"),
        ),
        "verdicts": {
            "torch": VerdictSummary(passed=True, reasons=(), deltas={"bbox/AP": 0.0001}),
            "caffe2": VerdictSummary(passed=True, reasons=(), deltas={"bbox/AP": 0.0}),
        },
        "passed": True,
        "judged_by": "caffe2",
    }
    return Evaluation(**(figures | changes))


@pytest.fixture(name="make_evaluation", scope="session")
def make_evaluation_fixture():
    return make_evaluation


@pytest.fixture(scope="session")
def hostile():
    """Names that would be markup, script or a template where they are not escaped."""
    return (
        "<script>window.hacked=1</script>",
        "\"><img src=x onerror='window.hacked=1'>",
        "](javascript:window.hacked=1)",
        "'; window.hacked=1; //",
        "{{ 7 * 7 }}",
        "</style><style>body{display:none}</style>",
        "a|b `c` *d* & e",
    )


@pytest.fixture
def evaluation():
    return make_evaluation()


@pytest.fixture
def markdown(tmp_path):
    """The Markdown form of a report."""

    def write(*arguments, **keywords):
        return write_report(tmp_path, *arguments, **keywords).read_text()

    return write


@pytest.fixture
def page(tmp_path):
    """The HTML form of a report."""

    def write(*arguments, **keywords):
        return write_report(tmp_path, *arguments, **keywords).with_suffix(".html").read_text()

    return write


class Converted:
    """A conversion by the pipeline's stages: its evaluation, where its report lies, and what that was made from."""

    def __init__(self, evaluation, folder, request, dataset, files):
        self.evaluation = evaluation
        self.folder = folder
        self.request = request
        self.dataset = dataset
        self.files = files


@pytest.fixture(scope="session")
def conversion(box_model, shapes, tmp_path_factory):
    """A demo model taken through the stages on six images, judged in the torch runtime."""
    from roastery.stages.convert import STAGE as CONVERT
    from roastery.stages.convert import ConvertRequest
    from roastery.stages.evaluate import STAGE as EVALUATE
    from roastery.stages.evaluate import EvaluateRequest
    from roastery.stages.export_onnx import STAGE as EXPORT
    from roastery.stages.export_onnx import ExportOnnxRequest
    from roastery.stages.predict import STAGE as PREDICT
    from roastery.stages.predict import PredictRequest
    from roastery.stages.report import STAGE as REPORT
    from roastery.stages.report import ReportRequest
    from roastery.stages.resolve import STAGE as RESOLVE
    from roastery.stages.resolve import ResolveRequest
    from roastery.stages.sample import STAGE as SAMPLE
    from roastery.stages.sample import SampleRequest
    from roastery.stages.stage import perform
    from roastery.stages.trace import STAGE as TRACE
    from roastery.stages.trace import TraceRequest
    from roastery.versions import versions

    root = tmp_path_factory.mktemp("conversion")
    store = Store(str(root / "store"))
    content = json.loads((shapes / "val" / "instances.json").read_text())
    content["images"] = content["images"][:6]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in kept]
    (root / "instances.json").write_text(json.dumps(content))
    dataset = DatasetSpec(name="few", images=shapes / "val" / "images", annotations=root / "instances.json")
    # A file's name that a shell would take apart.
    weights = root / "the model's final.pkl"
    shutil.copyfile(box_model / "model_final.pkl", weights)
    spec = ModelSpec(name="box", config=box_model / "config.yaml", weights=str(weights), dataset="few")

    timings = []

    def do(stage, request):
        result = perform(stage, request, store)
        timings.append(result.timing)
        return result

    pinned = do(RESOLVE, ResolveRequest(model="box", spec=spec, dataset=dataset))
    resolved, data = pinned.model(spec), pinned.facts.dataset
    sampled = do(
        SAMPLE,
        SampleRequest(model="box", resolved=resolved, dataset=dataset, pinned=data, sample=SampleSpec(n=1)),
    ).artifact
    traced = do(TRACE, TraceRequest(model="box", resolved=resolved, sample=sampled)).artifact
    onnx = do(EXPORT, ExportOnnxRequest(model="box", program=traced)).artifact
    converted = do(
        CONVERT,
        ConvertRequest(target="caffe2", model="box", onnx=onnx, sample=sampled, traced=traced, runtimes=("torch",)),
    )
    shards = {
        target: (
            do(
                PREDICT,
                PredictRequest(
                    model="box",
                    finder=target,
                    shard=1,
                    shards=1,
                    resolved=resolved,
                    dataset=dataset,
                    pinned=data,
                    converted=converted.artifact,
                ),
            ).artifact,
        )
        for target in ("original", "torch")
    }
    evaluated = do(
        EVALUATE,
        EvaluateRequest(
            model="box",
            resolved=resolved,
            dataset=dataset,
            pinned=data,
            measures=pinned.facts.measures,
            shards=shards,
            converted=converted.artifact,
            parity=converted.facts.parity,
            gate=GateSpec(),
        ),
    )
    request = ReportRequest(
        model="box",
        evaluated=evaluated.artifact,
        resolved=resolved,
        dataset=dataset,
        pinned=data,
        converted=converted.artifact,
        onnx=onnx,
        operators=converted.facts.operators,
        gate=GateSpec(),
        timings=tuple(timings),
        versions=versions(),
    )
    reported = perform(REPORT, request, store)
    files = {name: digest for ref in (converted.artifact, onnx) for name, digest in ref.files.items()}
    return Converted(evaluated.facts.evaluation, store.fetch(reported.artifact), request, dataset, files)


@pytest.fixture
def drawn(tmp_path):
    """A picture and a drawing of curves that lie where a report is written."""
    from PIL import Image

    from roastery.evaluation.coco import PrecisionRecall
    from roastery.report.curves import draw_curves
    from roastery.report.pictures import Comparison

    Image.new("RGB", (740, 250), (90, 120, 150)).save(tmp_path / "report-1.png")
    recall = tuple(index / 100 for index in range(101))
    curve = PrecisionRecall(recall, dict.fromkeys(("AP50", "AP75", "AP"), (0.5,) * 101))
    (curves,) = draw_curves(tmp_path, {"original": {"bbox": curve}, "torch": {"bbox": curve}})
    return Comparison(tmp_path / "report-1.png", "000_1.jpg", 1.25), curves
