import base64
import hashlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from PIL import Image

import roastery
from roastery.caffe2 import nets
from roastery.caffe2.model import Caffe2Model
from roastery.config import load_config
from roastery.data.preprocess import EncodedImage, to_input
from roastery.data.vocabulary import Vocabulary, named_classes
from roastery.errors import ConfigError, DatasetError, ModelFileError, RuntimeFailed
from roastery.evaluation.coco import to_coco_results
from roastery.registry import flavor, pyfunc
from roastery.registry.flavor_environment import write_environment
from roastery.registry.interface import COLUMNS

ROOT = Path(__file__).parents[2]
NAMES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def vocabulary():
    return named_classes(",".join(NAMES))


@pytest.fixture(scope="module")
def masks(converted, mask_model):
    return converted(mask_model.name)


@pytest.fixture(scope="module")
def keypoints(converted, shapes):
    """A converted model's folder: one that finds keypoints."""
    folders = sorted(file.parent for file in shapes.glob("*/config.yaml"))
    return converted(next(each.name for each in folders if load_config(each / "config.yaml").MODEL.KEYPOINT_ON))


@pytest.fixture(scope="module")
def saved(masks, vocabulary, tmp_path_factory):
    """A saved model's folder, only to be read."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    flavor.save_model(masks, folder, vocabulary=vocabulary)
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return mlflow.pyfunc.load_model(str(saved))


@pytest.fixture
def own(saved, tmp_path):
    """A copy of the saved model that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "own"))


@pytest.fixture(scope="module")
def images(shapes):
    return sorted((shapes / "val/images").iterdir())[:4]


@pytest.fixture(scope="module")
def table(loaded, images):
    """What is found in the images, named by their paths."""
    return loaded.predict([str(image) for image in images])


@pytest.fixture
def served(monkeypatch):
    """As in the process of MLflow's scoring server."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")


def expected(folder, images, names=None):
    """What `roastery predict --json` would write, and the boxes' corners."""
    with Caffe2Model.load_protobuf(folder) as model:
        config = model.preparation()
        for image in images:
            found = model([to_input(image, config)])[0]["instances"]
            results = to_coco_results(0, found, range(1, 100))
            for result, box in zip(results, found.pred_boxes.tensor.tolist(), strict=True):
                label = result["category_id"] - 1
                yield str(image), names[label] if names else f"class {label}", result, box


def same_findings(one, other):
    """All but what the images are called."""
    return one.drop(columns="image").to_dict("records") == other.drop(columns="image").to_dict("records")


def edited(folder, change):
    """Change what MLmodel says."""
    said = yaml.safe_load((folder / "MLmodel").read_text())
    change(said["flavors"])
    (folder / "MLmodel").write_text(yaml.safe_dump(said))


def one_line(caught, *words):
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    for word in words:
        assert word in text
    return True


# What is saved.


def test_importing_the_flavor_does_not_import_mlflow():
    code = "import sys, roastery.registry.flavor; print('mlflow' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_files_of_a_folder_are_saved_byte_for_byte_beside_mlmodel(masks, tmp_path):
    source = Path(shutil.copytree(masks, tmp_path / "source", ignore=shutil.ignore_patterns("lock")))
    (source / "model.svg").write_text("<svg/>")
    # Written by another program: another order of fields than ours would be.
    (source / "model.pb").write_bytes((source / "model.pb").read_bytes() + b"\x0a\x03net")

    flavor.save_model(source, tmp_path / "model")

    for name in ("model.pb", "model_init.pb", "model.pbtxt", "model.svg", "model.onnx"):
        assert (tmp_path / "model" / name).read_bytes() == (source / name).read_bytes(), name
        assert (tmp_path / "model" / name).stat().st_ino == (source / name).stat().st_ino, name
    assert not (tmp_path / "model/model.pt2").exists()


def test_where_no_hard_link_can_be_made_the_files_are_copied(masks, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    flavor.save_model(masks, tmp_path / "model")

    assert (tmp_path / "model/model_init.pb").read_bytes() == (masks / "model_init.pb").read_bytes()
    assert (tmp_path / "model/model_init.pb").stat().st_ino != (masks / "model_init.pb").stat().st_ino


def test_what_a_link_leads_to_is_saved_not_the_link(masks, tmp_path):
    (tmp_path / "links").mkdir()
    for name in ("model.pb", "model_init.pb"):
        (tmp_path / "links" / name).symlink_to(masks / name)

    flavor.save_model(tmp_path / "links", tmp_path / "model")

    assert not (tmp_path / "model/model.pb").is_symlink()
    assert (tmp_path / "model/model.pb").read_bytes() == (masks / "model.pb").read_bytes()


def test_the_parameters_of_a_folder_are_not_read_as_a_net(masks, tmp_path, monkeypatch):
    read = []
    load = nets.load_net
    monkeypatch.setattr(nets, "load_net", lambda file: read.append(file.name) or load(file))
    monkeypatch.setattr(Caffe2Model, "load_protobuf", None)

    flavor.save_model(masks, tmp_path / "model")

    assert read == ["model.pb"]


def test_a_model_in_hand_is_saved_and_finds_the_same(masks, tmp_path, images, vocabulary, table):
    with Caffe2Model.load_protobuf(masks) as model:
        flavor.save_model(model, tmp_path / "model", vocabulary=vocabulary)

    again = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(images)

    assert (tmp_path / "model/model_init.pb").read_bytes() == (masks / "model_init.pb").read_bytes()
    assert again.equals(table)


def test_mlmodel_says_what_the_model_is_and_names_the_digest_of_each_file(saved, mask_model):
    flavors = Model.load(str(saved)).flavors

    ours = flavors["roastery"]
    assert ours["roastery_version"] == roastery.__version__
    assert ours["meta_architecture"] == load_config(mask_model / "config.yaml").MODEL.META_ARCHITECTURE
    assert (ours["batch"], ours["runtime"]) == (1, "torch")
    names = {"model.pb", "model_init.pb", "model.pbtxt", "model.onnx", "vocabulary.json"}
    assert ours["files"] == {name: hashlib.sha256((saved / name).read_bytes()).hexdigest() for name in names}
    assert flavors["python_function"]["loader_module"] == "roastery.registry.flavor"
    assert "code" not in flavors["python_function"]


def test_a_net_for_batches_says_how_many_images_it_takes(converted, box_model, images, tmp_path):
    flavor.save_model(converted(box_model.name, batch=2), tmp_path / "model")
    flavor.save_model(converted(box_model.name), tmp_path / "alone")

    assert Model.load(str(tmp_path / "model")).flavors["roastery"]["batch"] == 2
    together, alone = (mlflow.pyfunc.load_model(str(tmp_path / name)).predict(images) for name in ("model", "alone"))
    assert list(together["image"]) == list(alone["image"])
    np.testing.assert_allclose(together["score"], alone["score"], rtol=0, atol=1e-5)


def test_no_pickle_is_saved(saved):
    assert {path.name for path in saved.rglob("*") if path.is_file()} == {
        "MLmodel",
        "conda.yaml",
        "input_example.json",
        "model.onnx",
        "model.pb",
        "model.pbtxt",
        "model_init.pb",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
        "vocabulary.json",
    }


def test_the_requirements_are_the_installed_versions_and_nobody_is_asked_for_them(masks, tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(Caffe2Model, "__call__", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)

    flavor.save_model(masks, tmp_path / "model")

    lines = (tmp_path / "model/requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines)
    assert {"mlflow", "roastery", "torch", "numpy", "pillow", "pycocotools"} <= set(pinned)
    for name in set(pinned) - {"roastery"}:
        assert pinned[name] == importlib.metadata.version(name).partition("+")[0], name
    assert pinned["roastery"] == roastery.__version__


def test_the_default_environment_is_to_the_byte_what_mlflows_own_way_to_it_gives(tmp_path):
    """Its own way is taken where requirements are given, here none."""
    needs = ("protobuf", "onnx")
    for name, extra in (("ours", None), ("mlflows", [])):
        (tmp_path / name).mkdir()
        write_environment(tmp_path / name, needs, None, None, extra)
    ours, theirs = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("ours", "mlflows")
    )
    assert ours == theirs
    assert sorted(ours) == ["conda.yaml", "python_env.yaml", "requirements.txt"]


def test_requirements_and_environment_can_be_given(masks, tmp_path):
    flavor.save_model(masks, tmp_path / "more", extra_pip_requirements=["tqdm"])
    flavor.save_model(masks, tmp_path / "others", pip_requirements=["numpy", "mlflow==3.17.2"])
    flavor.save_model(masks, tmp_path / "conda", conda_env=flavor.get_default_conda_env())

    assert {"tqdm", f"roastery=={roastery.__version__}"} <= set(
        (tmp_path / "more/requirements.txt").read_text().split()
    )
    assert (tmp_path / "others/requirements.txt").read_text().split() == ["numpy", "mlflow==3.17.2"]
    assert yaml.safe_load((tmp_path / "conda/conda.yaml").read_text()) == flavor.get_default_conda_env()


def test_metadata_code_and_further_files_are_kept_as_mlflow_keeps_them(masks, tmp_path):
    (tmp_path / "helper.py").write_text("RAN = True\n")
    (tmp_path / "notes.txt").write_text("notes")

    flavor.save_model(
        masks,
        tmp_path / "model",
        metadata={"owner": "street"},
        code_paths=[str(tmp_path / "helper.py")],
        extra_files=[str(tmp_path / "notes.txt")],
    )

    model = Model.load(str(tmp_path / "model"))
    assert model.metadata["owner"] == "street"
    assert (tmp_path / "model" / model.flavors["roastery"]["extra_files"][0]["path"]).read_text() == "notes"
    assert (tmp_path / "model" / model.flavors["python_function"]["code"] / "helper.py").exists()
    path = list(sys.path)
    flavor.load_model(tmp_path / "model")
    assert sys.path == path


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path):
    with pytest.raises(ModelFileError) as caught:
        flavor.save_model(tmp_path, tmp_path / "model")
    assert one_line(caught, str(tmp_path / "model.pb"), "a converted model is a folder with it")


def test_a_folder_without_parameters_is_refused_in_one_line(masks, tmp_path):
    shutil.copyfile(masks / "model.pb", tmp_path / "model.pb")
    with pytest.raises(ModelFileError) as caught:
        flavor.save_model(tmp_path, tmp_path / "model")
    assert one_line(caught, str(tmp_path / "model_init.pb"))


def test_a_pipe_among_the_files_is_refused_unread(masks, tmp_path):
    source = Path(shutil.copytree(masks, tmp_path / "source"))
    (source / "model.onnx").unlink()
    os.mkfifo(source / "model.onnx")
    with pytest.raises(ModelFileError) as caught:
        flavor.save_model(source, tmp_path / "model")
    assert one_line(caught, "model.onnx", "not a file")


@pytest.mark.parametrize(
    "words",
    [
        Vocabulary("names", ("circle", "x" * 10_000), (1, 2)),
        Vocabulary("names", ("circle", ""), (1, 2)),
        Vocabulary("names", ("circle", "square"), (1,)),
        Vocabulary("names", (), ()),
        Vocabulary("names", ("circle\ud800",), (1,)),
    ],
    ids=["endless", "empty", "without an id", "none", "half a character"],
)
def test_names_that_could_not_be_read_again_are_refused(masks, tmp_path, words):
    with pytest.raises(ModelFileError) as caught:
        flavor.save_model(masks, tmp_path / "model", vocabulary=words)
    assert one_line(caught, "names")


def test_a_runtime_that_is_none_is_refused(masks, saved, tmp_path):
    with pytest.raises(ConfigError, match="runtime 'tensorrt' is not known"):
        flavor.save_model(masks, tmp_path / "model", runtime="tensorrt")
    with pytest.raises(ConfigError, match="runtime 'tensorrt' is not known"):
        flavor.load_model(saved, runtime="tensorrt")


def test_a_folder_that_holds_something_is_not_saved_into(masks, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MlflowException, match="not empty"):
        flavor.save_model(masks, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# What is loaded.


def test_a_loaded_model_is_a_caffe2_model(saved, masks, images):
    with flavor.load_model(saved) as model, Caffe2Model.load_protobuf(masks) as original:
        assert (type(model), model.runtime_name) == (Caffe2Model, "torch")
        single = to_input(images[0], model.preparation())
        assert (model([single])[0]["instances"].scores == original([single])[0]["instances"].scores).all()


def test_the_runtime_is_the_one_that_was_saved_unless_another_is_asked_for(masks, tmp_path):
    flavor.save_model(masks, tmp_path / "model", runtime="caffe2")

    assert flavor.load_model(tmp_path / "model").runtime_name == "caffe2"
    assert flavor.load_model(tmp_path / "model", runtime="torch").runtime_name == "torch"
    uri = str(tmp_path / "model")
    assert mlflow.pyfunc.load_model(uri).get_raw_model().runtime_name == "caffe2"
    assert mlflow.pyfunc.load_model(uri, model_config={"runtime": "torch"}).get_raw_model().runtime_name == "torch"


def test_a_model_is_downloaded_where_it_is_asked_to_be(saved, tmp_path):
    flavor.load_model(saved, dst_path=tmp_path)
    assert (tmp_path / saved.name / "model.pb").exists()


def drop_flavor(flavors):
    del flavors["roastery"]


def say(key, value):
    return lambda flavors: flavors["roastery"].__setitem__(key, value)


def configure(key, value):
    return lambda flavors: flavors["python_function"]["config"].__setitem__(key, value)


HOSTILE = {
    "no flavor": (drop_flavor, "has no flavor 'roastery'"),
    "runtime": (say("runtime", "os.system('id')"), "runtime"),
    "runtime of a list": (say("runtime", [[["torch"]]]), "runtime"),
    "runtime of many lines": (say("runtime", "torch\n" * 1000), "runtime"),
    "name without end": (say("meta_architecture", "x" * 100_000), "meta_architecture"),
    "batch of no number": (say("batch", "two"), "batch"),
    "batch of none": (say("batch", 0), "batch"),
    "files elsewhere": (say("files", {"../../../etc/passwd": "0" * 64}), "files"),
    "no files": (say("files", {}), "names no model.pb"),
    "digests of another": (
        lambda flavors: flavors["roastery"]["files"].__setitem__("model_init.pb", "0" * 64),
        "model_init.pb: is not the file that MLmodel names",
    ),
    "digests that are none": (
        lambda flavors: flavors["roastery"]["files"].__setitem__("model.pb", "\x1b[2J"),
        "files.model.pb",
    ),
}
CONFIGURED = {
    "runtime of the config": (configure("runtime", "x" * 100_000), "is not known; set it to torch or caffe2"),
    "runtime of the config, a list": (configure("runtime", ["torch"]), "is not known"),
    "paths of the config": (configure("paths", "yes"), "paths is 'yes'"),
}


@pytest.mark.parametrize(("change", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_mlmodel_is_refused_in_one_line(own, change, words):
    edited(own, change)
    for load in (flavor.load_model, lambda folder: mlflow.pyfunc.load_model(str(folder))):
        with pytest.raises(ModelFileError) as caught:
            load(own)
        assert one_line(caught, str(own), words)
        assert len(str(caught.value)) < 3100


@pytest.mark.parametrize(("change", "words"), CONFIGURED.values(), ids=CONFIGURED)
def test_a_hostile_config_of_pyfunc_is_refused_in_one_line(own, change, words):
    edited(own, change)
    with pytest.raises(ModelFileError) as caught:
        mlflow.pyfunc.load_model(str(own))
    assert one_line(caught, words)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "flavors: []", "flavors: {roastery: 1}", "flavors: !!python/object/apply:os.system [touch ran]", "\0"],
)
def test_an_mlmodel_that_is_none_is_refused_in_one_line_and_executes_nothing(own, text, monkeypatch):
    monkeypatch.chdir(own)
    (own / "MLmodel").write_text(text)
    with pytest.raises(ModelFileError) as caught:
        flavor.load_model(own)
    assert one_line(caught, "MLmodel")
    assert not (own / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"class_names": ["a"]}',
        '{"class_names": ["a"], "category_ids": []}',
        '{"class_names": [], "category_ids": []}',
        '{"class_names": [1], "category_ids": [1]}',
        '{"class_names": ["a"], "category_ids": ["1"]}',
        '{"class_names": ["a"], "category_ids": [1e999]}',
        '{"class_names": "abc", "category_ids": [1, 2, 3]}',
        json.dumps({"class_names": ["x" * 100_000], "category_ids": [1]}),
        '{"class_names": ["\\ud800"], "category_ids": [1]}',
    ],
)
def test_a_vocabulary_that_is_malformed_is_refused_in_one_line(own, text):
    (own / "vocabulary.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    edited(own, lambda flavors: flavors["roastery"]["files"].__setitem__("vocabulary.json", digest))
    with pytest.raises(ModelFileError) as caught:
        mlflow.pyfunc.load_model(str(own))
    assert one_line(caught, "vocabulary.json")


@pytest.mark.parametrize("name", ["model.pb", "model_init.pb", "vocabulary.json"])
def test_a_file_that_is_not_the_one_that_was_saved_is_refused(own, name):
    content = (own / name).read_bytes()
    (own / name).unlink()
    with pytest.raises(ModelFileError) as missing:
        mlflow.pyfunc.load_model(str(own))
    (own / name).write_bytes(content[:-1])
    with pytest.raises(ModelFileError) as changed:
        mlflow.pyfunc.load_model(str(own))

    assert one_line(missing, str(own / name))
    assert one_line(changed, f"{own / name}: is not the file that MLmodel names")


def test_a_model_loads_where_mlflow_may_not_unpickle(saved, images, table):
    code = "import mlflow, sys; print(len(mlflow.pyfunc.load_model(sys.argv[1]).predict([sys.argv[2]])))"
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved), str(images[0])],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == (table["image"] == str(images[0])).sum() > 0


# What is predicted.


def test_the_table_has_what_roastery_predict_writes_to_exactness(masks, images, table):
    wanted = list(expected(masks, images, NAMES))
    assert len(table) == len(wanted) > 4
    for row, (image, name, result, box) in zip(table.to_dict("records"), wanted, strict=True):
        assert row == {
            "image": image,
            "class": name,
            "score": result["score"],
            "box": box,
            "mask": result["segmentation"],
            "keypoints": None,
        }
        corners = np.array(box, np.float32)
        assert [*corners[:2], *(corners[2:] - corners[:2])] == result["bbox"]


def test_keypoints_are_triples_and_such_a_model_has_no_mask(keypoints, images, tmp_path):
    flavor.save_model(keypoints, tmp_path / "model")
    table = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(images)

    wanted = list(expected(keypoints, images))
    assert len(table) == len(wanted) > 0
    for row, (_, name, result, _) in zip(table.to_dict("records"), wanted, strict=True):
        assert (row["class"], row["score"], row["mask"]) == (name, result["score"], None)
        assert {len(point) for point in row["keypoints"]} == {3}
        assert [value for point in row["keypoints"] for value in point] == result["keypoints"]


def test_every_demo_models_table_is_what_the_model_gives(converted, demo_model, images, tmp_path):
    """Also of a panoptic model, whose merged segments are left out, and of one whose net gives raw maps."""
    folder = converted(demo_model.name)
    flavor.save_model(folder, tmp_path / "model")
    table = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(images[:2])
    assert list(table["score"]) == [result["score"] for _, _, result, _ in expected(folder, images[:2])]


def forms():
    def read(images):
        return [image.read_bytes() for image in images]

    return {
        "paths": list,
        "texts": lambda images: [str(image) for image in images],
        "bytes": read,
        "mixed": lambda images: [images[0], str(images[1]), images[2].read_bytes(), bytearray(images[3].read_bytes())],
        "array of paths": lambda images: np.array(images, dtype=object),
        "array of texts": lambda images: np.array([str(image) for image in images]),
        "array of bytes": lambda images: np.array(read(images), dtype=object),
        "series of texts": lambda images: pd.Series([str(image) for image in images]),
        "named series of paths": lambda images: pd.Series(images, name="picture"),
        "series of bytes": lambda images: pd.Series(read(images), index=[7, 5, 3, 1]),
        "table of texts": lambda images: pd.DataFrame({"image": [str(image) for image in images]}),
        "table of paths": lambda images: pd.DataFrame({"image": images}),
        "table of bytes": lambda images: pd.DataFrame({"image": read(images)}),
        "mixed table": lambda images: pd.DataFrame({"image": [images[0], str(images[1]), *read(images[2:])]}),
    }


@pytest.mark.parametrize("form", forms().values(), ids=forms())
def test_every_form_of_the_input_passes_mlflows_signature_and_gives_the_same(loaded, images, table, form):
    assert loaded.metadata.signature is not None
    found = loaded.predict(form(images))
    assert same_findings(found, table)
    for position, image in enumerate(images):
        given = table["image"] == str(image)
        assert set(found["image"][given]) <= {str(image), str(position)}


def test_a_single_path_or_image_is_taken_as_one(loaded, images, table):
    first = table[table["image"] == str(images[0])]
    assert same_findings(loaded.predict(str(images[0])), first)
    assert same_findings(loaded.predict(images[0].read_bytes()), first)


def test_an_image_is_called_as_it_was_given_and_by_its_position_where_it_is_bytes(loaded, images, monkeypatch):
    monkeypatch.chdir(images[0].parent)
    given = f"./{images[0].name}"
    found = loaded.predict([given, images[1].read_bytes()])
    assert list(dict.fromkeys(found["image"])) == [given, "1"]


def test_detections_below_the_threshold_are_left_out(loaded, images, table):
    found = loaded.predict(images, params={"threshold": 0.5})
    wanted = table[table["score"] >= 0.5].reset_index(drop=True)
    assert 0 < len(wanted) < len(table)
    assert found.equals(wanted)
    assert loaded.predict(images, params={"threshold": 0}).equals(table)


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_that_is_none_is_refused_in_one_line(loaded, images, threshold):
    with pytest.raises(ConfigError) as caught:
        loaded.predict(images, params={"threshold": threshold})
    assert one_line(caught, "threshold is")


def test_without_detections_the_table_has_the_same_columns_of_the_same_kinds(loaded, images, table):
    nothing = loaded.predict(images, params={"threshold": 1.1})
    assert len(nothing) == 0
    assert tuple(nothing.columns) == tuple(table.columns) == COLUMNS
    assert list(nothing.dtypes) == list(table.dtypes)
    assert loaded.predict(pd.DataFrame({"image": pd.Series([], dtype=object)})).equals(nothing)


def test_without_a_vocabulary_classes_are_numbered(masks, images, table, tmp_path):
    flavor.save_model(masks, tmp_path / "model")
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(images)
    assert list(found["class"]) == [f"class {NAMES.index(name)}" for name in table["class"]]


def test_a_class_that_has_no_name_is_refused(masks, images, tmp_path):
    flavor.save_model(masks, tmp_path / "model", vocabulary=named_classes("circle"))
    with pytest.raises(DatasetError) as caught:
        mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(images)
    assert one_line(caught, "vocabulary.json", "the model found class")


def unreadable(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return {
        "missing": (tmp_path / "none.jpg", "no such image"),
        "folder": (tmp_path, "Is a directory"),
        "pipe": (tmp_path / "pipe", "not a file"),
        "damaged": (tmp_path / "cut.png", "cannot be read as an image"),
        "no path": ("a\0b", "No path has such characters"),
        "no image": (b"hello", "image 1: is no BMP, JPEG, PNG, TIFF, WEBP file"),
        "empty": (b"", "image 1: is no"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image 1: is no"),
        "number": (7, "image 1: is of type int"),
        "nothing": (None, "image 1: is of type NoneType"),
    }


@pytest.mark.parametrize(
    "what",
    ["missing", "folder", "pipe", "damaged", "no path", "no image", "empty", "postscript", "number", "nothing"],
)
def test_what_is_no_image_is_named_in_one_line(loaded, images, tmp_path, what):
    value, words = unreadable(tmp_path)[what]
    with pytest.raises(DatasetError) as caught:
        loaded.predict([images[0], value])
    assert one_line(caught, words)


def test_bytes_that_claim_more_pixels_than_memory_allows_are_refused(loaded, tmp_path):
    Image.new("1", (10_000, 6_000)).save(tmp_path / "large.png")
    with pytest.raises(DatasetError) as caught:
        loaded.predict([(tmp_path / "large.png").read_bytes()])
    assert one_line(caught, "image 0: is 6000 x 10000 pixels, over 50 million")


def test_a_model_that_fails_names_the_image(loaded, images, monkeypatch):
    def fail(self, inputs):
        raise RuntimeFailed("the net died")

    monkeypatch.setattr(Caffe2Model, "__call__", fail)
    with pytest.raises(RuntimeFailed, match=f"^{images[0]}: the net died$"):
        loaded.predict(images)


def test_threads_take_turns_at_the_model(loaded, images, table, monkeypatch):
    inside, most = [], []
    call = Caffe2Model.__call__

    def watched(self, inputs):
        inside.append(1)
        most.append(len(inside))
        try:
            return call(self, inputs)
        finally:
            inside.pop()

    monkeypatch.setattr(Caffe2Model, "__call__", watched)
    found = {}
    threads = [
        threading.Thread(target=lambda place=place: found.__setitem__(place, loaded.predict(images)))
        for place in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(most) == {1}
    assert len(most) == 3 * len(images)
    assert all(found[place].equals(table) for place in range(3))


# What a server takes.


def test_a_path_is_refused_in_a_server_and_nothing_is_opened(loaded, images, served, monkeypatch):
    monkeypatch.setattr(pyfunc, "require_regular", None)
    monkeypatch.setattr(Path, "open", None)
    for value in (images[0], str(images[0]), "/etc/passwd", "x.jpg", "é.jpg", str(images[0]).encode()):
        with pytest.raises(MlflowException) as caught:
            loaded.predict([value])
        assert one_line(caught, "image 0: is ")
        assert caught.value.get_http_status_code() == 400


@pytest.mark.parametrize("module", pyfunc._SERVERS)
def test_a_server_is_known_by_its_module_too(loaded, images, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, sys)
    with pytest.raises(MlflowException, match="image 0: is "):
        loaded.predict([str(images[0])])


def test_whoever_loads_the_model_may_refuse_paths(saved, images, table):
    model = mlflow.pyfunc.load_model(str(saved), model_config={"paths": False})
    assert same_findings(model.predict([image.read_bytes() for image in images]), table)
    with pytest.raises(DatasetError) as caught:
        model.predict([str(images[0])])
    assert one_line(caught, "image 0: paths are not read here; give an image file's bytes")


def test_a_model_file_cannot_allow_a_server_to_read_paths(own, images, served):
    edited(own, configure("paths", True))
    with pytest.raises(MlflowException, match="image 0: is "):
        mlflow.pyfunc.load_model(str(own)).predict([str(images[0])])


def sent_forms():
    def one(content):
        return base64.b64encode(content).decode()

    return {
        "split": lambda contents: {
            "dataframe_split": {"columns": ["image"], "data": [[one(each)] for each in contents]}
        },
        "records": lambda contents: {"dataframe_records": [{"image": one(each)} for each in contents]},
        "inputs": lambda contents: {"inputs": [one(each) for each in contents]},
        "inputs of lines": lambda contents: {"inputs": [base64.encodebytes(each).decode() for each in contents]},
        "instances": lambda contents: {"instances": [one(each) for each in contents]},
        "named instances": lambda contents: {"instances": [{"image": one(each)} for each in contents]},
    }


@pytest.mark.filterwarnings("ignore:.*validate_serving_input:FutureWarning")
@pytest.mark.parametrize("form", sent_forms().values(), ids=sent_forms())
def test_every_form_of_mlflows_json_gives_the_same(saved, images, table, form):
    request = json.dumps(form([image.read_bytes() for image in images]) | {"params": {"threshold": 0.25}})
    found = mlflow.models.validate_serving_input(str(saved), request)
    assert same_findings(found, table[table["score"] >= 0.25])
    assert set(found["image"]) <= {"0", "1", "2", "3"}


@pytest.mark.filterwarnings("ignore:.*validate_serving_input:FutureWarning")
def test_the_input_example_is_served_and_loads_as_bytes(saved, loaded):
    model = Model.load(str(saved))
    found = mlflow.models.validate_serving_input(str(saved), model.get_serving_input(str(saved)))
    assert tuple(found.columns) == COLUMNS
    (content,) = loaded.input_example["image"]
    assert content.startswith(b"\x89PNG")
    assert same_findings(loaded.predict(loaded.input_example), found)


def test_the_signature_says_what_is_taken_and_given(saved):
    signature = Model.load(str(saved)).signature
    assert [str(each.type) for each in signature.inputs] == ["DataType.binary"]
    assert tuple(signature.outputs.input_names()) == COLUMNS
    assert {each.name: each.default for each in signature.params} == {"threshold": 0.0}


def test_a_signature_and_an_example_of_ones_own_take_the_places(masks, images, tmp_path):
    example = pd.DataFrame({"image": [images[0].read_bytes()]})
    signature = mlflow.models.ModelSignature(params=None, outputs=flavor.usual_signature().outputs)
    flavor.save_model(masks, tmp_path / "model", signature=signature, input_example=example)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert loaded.metadata.signature == signature
    assert len(loaded.predict(example)) > 0


# In the registry.


@pytest.fixture
def registry(empty_database, tmp_path, monkeypatch):
    """A SQLite registry of its own, with MLflow's own calls set to it."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    # MLflow leaves it in the environment when it is set back to none: other tests would ask this registry.
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("flavored", artifact_location=str(tmp_path / "artifacts"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    monkeypatch.chdir(tmp_path)
    yield client
    mlflow.set_tracking_uri(None)
    # What is set explicitly is kept beside any other tracking address.
    mlflow.set_registry_uri(None)


def test_a_logged_model_is_loaded_by_alias_by_version_and_by_run(registry, masks, vocabulary, images, table):
    with mlflow.start_run() as run:
        info = flavor.log_model(masks, name="net", registered_model_name="signs.caffe2", vocabulary=vocabulary)
    registry.set_registered_model_alias("signs.caffe2", "candidate", "1")

    assert info.registered_model_version == 1
    assert info.flavors["roastery"]["batch"] == 1
    addresses = [info.model_uri, "models:/signs.caffe2@candidate", "models:/signs.caffe2/1"]
    for address in [*addresses, f"runs:/{run.info.run_id}/net"]:
        assert mlflow.pyfunc.load_model(address).predict(images).equals(table), address
        with flavor.load_model(address) as model:
            assert model.predict_net.external_output, address


def test_logging_does_not_run_the_model_unless_that_is_asked_for(registry, masks, monkeypatch):
    ran = []
    monkeypatch.setattr(Caffe2Model, "__call__", lambda self, inputs: ran.append(1))

    flavor.log_model(masks)
    assert ran == []
    flavor.log_model(masks, validate_serving_input=True)
    assert ran == [1]


def test_bytes_are_read_as_the_file_is(images, masks):
    config = Caffe2Model.load_protobuf(masks).preparation()
    for image in images:
        single, other = to_input(image, config), to_input(EncodedImage("image 0", image.read_bytes()), config)
        assert (single["image"] == other["image"]).all()
        assert (single["height"], single["width"]) == (other["height"], other["width"])
