"""Over HTTP, of `mlflow models serve` as it is really started: what a process of one's own cannot show."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import pytest

from roastery.data.vocabulary import named_classes
from roastery.registry import flavor

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_SECONDS = 180


@pytest.fixture(scope="module")
def saved(converted, mask_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    flavor.save_model(converted(mask_model.name), folder, vocabulary=named_classes("circle,square,triangle"))
    return folder


@pytest.fixture(scope="module")
def server(saved, tmp_path_factory):
    """The address of a started server."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # `uvicorn` is found beside the Python that runs the tests.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _await(address, process, folder / "log")
            yield address
        finally:
            # MLflow's command starts a shell, which starts the server.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _await(address, process, log):
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if ping(address) == 200:
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"no server after {STARTS_WITHIN_SECONDS} s: {log.read_text()}")


def ping(address):
    with urllib.request.urlopen(f"{address}/ping", timeout=5) as reply:
        return reply.status


def ask(address, content, kind="application/json"):
    """The status of an answer, and what it says."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def table_of(images, **params):
    data = [[base64.b64encode(image.read_bytes()).decode()] for image in images]
    return {"dataframe_split": {"columns": ["image"], "data": data}, "params": params}


@pytest.fixture(scope="module")
def images(shapes):
    return sorted((shapes / "val/images").iterdir())[:3]


@pytest.fixture(scope="module")
def rows(saved, images):
    """What a process of one's own finds."""
    return mlflow.pyfunc.load_model(str(saved)).predict([image.read_bytes() for image in images]).to_dict("records")


@pytest.mark.xdist_group("serving")
def test_a_served_model_answers_what_it_finds_in_process(server, images, rows):
    status, answer = ask(server, table_of(images))
    assert (status, ping(server)) == (200, 200)
    assert len(rows) > 3
    assert answer["predictions"] == rows


@pytest.mark.xdist_group("serving")
def test_the_threshold_goes_with_the_request(server, images, rows):
    _, answer = ask(server, table_of(images, threshold=0.5))
    assert answer["predictions"] == [row for row in rows if row["score"] >= 0.5]
    assert 0 < len(answer["predictions"]) < len(rows)
    assert ask(server, table_of(images, threshold=1.0)) == (200, {"predictions": []})


@pytest.mark.xdist_group("serving")
def test_the_saved_example_is_a_request(server, saved):
    status, answer = ask(server, (saved / "serving_input_example.json").read_bytes())
    assert status == 200
    assert isinstance(answer["predictions"], list)


@pytest.mark.xdist_group("serving")
def test_requests_at_once_are_answered_each_with_its_own(server, images, rows):
    answers = {}

    def work(place):
        answers[place] = ask(server, table_of([images[place % len(images)]]))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for place in range(6):
        wanted = [row | {"image": "0"} for row in rows if row["image"] == str(place % len(images))]
        assert answers[place] == (200, {"predictions": wanted})


def forms_of(path):
    return {
        "split": {"dataframe_split": {"columns": ["image"], "data": [[path]]}},
        "records": {"dataframe_records": [{"image": path}]},
        "inputs": {"inputs": [path]},
        "instances": {"instances": [path]},
        "named instances": {"instances": [{"image": path}]},
        "one": {"inputs": path},
    }


@pytest.mark.xdist_group("serving")
@pytest.mark.parametrize("form", forms_of(""))
@pytest.mark.parametrize("padding", range(4))
def test_the_path_of_an_image_is_refused(server, images, tmp_path, form, padding):
    """Of every length, for one in four reads as base64 that is whole. What is there would be detected in if read."""
    image = tmp_path / f"image{'x' * padding}"
    image.write_bytes(images[0].read_bytes())

    status, answer = ask(server, forms_of(str(image))[form])

    assert status == 400
    line = answer["message"].splitlines()[-1]
    assert "image 0: is no BMP, JPEG, PNG, TIFF, WEBP file" in line or "not compatible with model signature" in line
    assert "Traceback" not in json.dumps(answer)


@pytest.mark.xdist_group("serving")
def test_a_path_in_csv_is_refused(server, images):
    status, answer = ask(server, f"image\n{images[0]}\n".encode(), "text/csv")
    assert status == 400
    assert "image 0: is no " in answer["message"].splitlines()[-1]


@pytest.mark.xdist_group("serving")
@pytest.mark.parametrize("value", [None, 7, {"path": "/etc/passwd"}, ["/etc/passwd"], ""])
def test_what_is_no_image_is_refused_and_the_server_goes_on(server, images, rows, value):
    for form in forms_of(value).values():
        status, answer = ask(server, form)
        assert (status, "predictions" in answer) == (400, False), form
    assert ask(server, table_of(images)) == (200, {"predictions": rows})
