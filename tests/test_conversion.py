import json
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

import roastery.conversion
from roastery.conversion import convert_to_directory
from roastery.errors import ConfigError, DatasetError, UnsupportedOperator
from roastery.spec import ExportSpec


class Told:
    """Progress that is kept: what began, and what ended."""

    def __init__(self):
        self.begun, self.ended = [], []

    @contextmanager
    def step(self, text, total=None):
        self.begun.append(text)
        yield lambda: None
        self.ended.append(text)


@pytest.fixture
def failing_trace(monkeypatch):
    def with_error(error):
        def trace(detector, arguments, batch):
            raise error

        monkeypatch.setattr(roastery.conversion, "trace", trace)

    return with_error


@pytest.mark.parametrize("error", [UnsupportedOperator("no Caffe2 form"), KeyboardInterrupt()])
def test_whatever_stops_a_conversion_nothing_is_left_and_the_step_is_known(mask_model, tmp_path, failing_trace, error):
    failing_trace(error)
    told = Told()

    with pytest.raises(type(error)):
        convert_to_directory(mask_model / "config.yaml", tmp_path / "a/out", progress=told)

    assert told.begun == ["read the model", "trace"]
    assert told.ended == ["read the model"]
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_with_other_classes_is_refused_before_anything_is_traced(shapes, mask_model, tmp_path, failing_trace):
    failing_trace(AssertionError("must not be traced"))
    content = json.loads((shapes / "val/instances.json").read_text())
    content["categories"] = content["categories"][:2]
    content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] <= 2]
    registered = tmp_path / "registered"
    registered.mkdir()
    (tmp_path / "two.json").write_text(json.dumps(content))
    (registered / "shapes_val.yaml").write_text(
        f"name: shapes_val\nimages: {shapes / 'val/images'}\nannotations: {tmp_path / 'two.json'}\n"
    )

    with pytest.raises(DatasetError, match="has 2 categories, but the model 3 classes"):
        convert_to_directory(mask_model / "config.yaml", tmp_path / "out", run_eval=True, datasets=registered)

    assert not (tmp_path / "out").exists()


def test_detectron2s_coco_is_evaluated_on_by_its_name(shapes, few_annotations, mask_model, tmp_path, monkeypatch):
    coco = tmp_path / "datasets/coco"
    (coco / "annotations").mkdir(parents=True)
    shutil.copyfile(few_annotations, coco / "annotations/instances_val2017.json")
    shutil.copytree(shapes / "val/images", coco / "val2017")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(coco.parent))

    outcome = convert_to_directory(
        mask_model / "config.yaml",
        tmp_path / "out",
        ["DATASETS.TEST", "('coco_2017_val',)"],
        run_eval=True,
        datasets=tmp_path / "none",
    )

    assert outcome.passed
    assert (outcome.evaluation.dataset, outcome.evaluation.images) == ("coco_2017_val", 4)
    assert outcome.evaluation.metrics["original"]["segm"]["AP"] > 30


def test_a_conversion_needs_neither_prefect_nor_mlflow():
    code = "import sys, roastery.conversion; sys.exit(bool({'prefect', 'mlflow'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_kind_of_net_that_is_asked_for_is_made_and_compared_and_evaluated_in_batches(mask_model, tmp_path):
    outcome = convert_to_directory(
        mask_model / "config.yaml", tmp_path / "out", run_eval=True, export=ExportSpec(batch=3)
    )

    assert outcome.passed
    # Four sampled images in batches of three: the second is filled up.
    assert [parity.images for parity in outcome.parity] == [2]
    for iou_type, figures in outcome.evaluation.metrics["original"].items():
        assert outcome.evaluation.metrics["torch"][iou_type]["AP"] == pytest.approx(figures["AP"], abs=0.05)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["net"]["arguments"]["batch_size"] == 3
    assert manifest["net"]["outputs"][-1] == "batch_splits"


def test_a_model_that_cannot_be_converted_is_refused_before_its_weights_are_looked_for(mask_model, tmp_path):
    overrides = ["MODEL.RESNETS.DEFORM_ON_PER_STAGE", "[False, True, True, True]", "MODEL.WEIGHTS", "nowhere.pkl"]
    with pytest.raises(ConfigError, match=r"DEFORM_ON_PER_STAGE: .*DeformConv"):
        convert_to_directory(mask_model / "config.yaml", tmp_path / "out", overrides)
