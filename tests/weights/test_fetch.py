"""Checkpoints from their addresses: once, resumed, verified, whole or not there; a failure names the address."""

import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from roastery.errors import CheckpointError, DiskFull, OutputError, RoasteryError, UserError, WeightsUnavailable
from roastery.weights import fetch as fetching
from roastery.weights.fetch import fetched_before, local_weights

CONTENT = bytes(range(256)) * 20_000
"""5 MB: more than one piece."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = "detectron2://R-50.pkl"
PATH = "/detectron2/R-50.pkl"


@pytest.fixture
def zoo(web: Any) -> Any:
    """The server, with one file of detectron2's."""
    web.files[PATH] = CONTENT
    return web


def kept_files(web_folder: Path) -> set[str]:
    return {file.name for file in web_folder.rglob("*") if file.is_file() and file.name != ".lock"}


def failure(kind: type[RoasteryError], address: str, *words: str, sha256: str | None = None) -> None:
    with pytest.raises(kind) as caught:
        local_weights(address, sha256)
    message = str(caught.value)
    assert address in message
    assert "\n" not in message
    for word in words:
        assert word in message
    assert isinstance(caught.value, UserError) is (kind is not WeightsUnavailable)


def test_a_path_stays_a_path_and_nobody_is_asked(web: Any) -> None:
    for path in ("model.pkl", Path("a/b.pth"), "odd:name.pkl", "file.safetensors"):
        assert local_weights(path) == Path(path)
    assert web.asked == []


def test_a_file_of_the_own_machine_is_not_copied(web: Any, tmp_path: Path) -> None:
    file = tmp_path / "my model.pkl"
    assert local_weights(f"file://{tmp_path}/my%20model.pkl") == file
    assert fetched_before(f"file://{tmp_path}/my%20model.pkl") == file
    assert not (tmp_path / "cache").exists()


def test_a_checkpoint_is_fetched_once_and_kept_under_its_name_with_its_digest(zoo: Any, tmp_path: Path) -> None:
    assert fetched_before(ADDRESS) is None
    path = local_weights(ADDRESS)
    assert path.name == "R-50.pkl"
    assert path.is_relative_to(tmp_path / "cache" / "weights")
    assert path.read_bytes() == CONTENT
    assert json.loads((path.parent / "record.json").read_text())["sha256"] == SHA256
    assert kept_files(path.parent) == {"R-50.pkl", "record.json"}
    assert local_weights(ADDRESS) == fetched_before(ADDRESS) == path
    # The same file by its other address.
    assert local_weights(f"{zoo.url}{PATH}") == path
    assert len(zoo.asked) == 1


def test_two_addresses_with_files_of_one_name_are_two_files(zoo: Any) -> None:
    zoo.files["/detectron2/other/R-50.pkl"] = b"other"
    one, other = local_weights(ADDRESS), local_weights("detectron2://other/R-50.pkl")
    assert (one.read_bytes(), other.read_bytes()) == (CONTENT, b"other")


def test_detectron2s_files_may_lie_in_a_folder(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share/R-50.pkl").write_bytes(CONTENT)
    monkeypatch.setenv("ROASTERY_DETECTRON2_URL", f"file://{tmp_path}/share")
    assert local_weights(ADDRESS, SHA256).read_bytes() == CONTENT
    failure(CheckpointError, "detectron2://none.pkl", "no such file")


def test_the_detectors_of_detectron_are_fetched_by_their_names_in_the_catalog(web: Any) -> None:
    web.files["/detectron/ImageNetPretrained/47261647/R-50-GN.pkl"] = b"backbone"
    assert local_weights("catalog://ImageNetPretrained/FAIR/R-50-GN").read_bytes() == b"backbone"


def test_what_is_told_grows_to_the_whole(zoo: Any) -> None:
    told: list[tuple[int, int | None]] = []

    @contextmanager
    def watching() -> Any:
        yield lambda done, total: told.append((done, total))

    local_weights(ADDRESS, fetching=watching)
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == (len(CONTENT), len(CONTENT))
    told.clear()
    local_weights(ADDRESS, fetching=watching)
    assert told == []


# What may pass


def test_a_download_that_breaks_is_resumed(zoo: Any) -> None:
    zoo.fails = ["cut", "none", "503", "cut"]
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    positions = [int(part.removeprefix("bytes=").removesuffix("-")) for _, part in zoo.asked[1:]]
    assert positions == sorted(positions)
    assert positions[0] > 0
    # What is in the air when a connection breaks is sent again, and no more.
    assert zoo.sent < 1.5 * len(CONTENT)


@pytest.mark.parametrize("lacking", ["etags", "ranges"])
def test_where_a_server_cannot_go_on_a_download_begins_anew(zoo: Any, lacking: str) -> None:
    setattr(zoo, lacking, False)
    zoo.fails = ["cut"]
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    assert [part is not None for _, part in zoo.asked] == [False, lacking == "ranges"]


@pytest.mark.parametrize("compares", [True, False], ids=["that compares", "that does not compare"])
@pytest.mark.parametrize("size", [len(CONTENT), 3_000_000, 100], ids=["as long", "shorter", "shorter than the part"])
def test_another_content_after_a_break_is_fetched_from_its_start(zoo: Any, compares: bool, size: int) -> None:
    zoo.compares, zoo.swapped = compares, b"\1" * size
    zoo.fails = ["cut", "swap"]
    assert local_weights(ADDRESS).read_bytes() == zoo.swapped


def test_a_server_that_stays_away_is_named_and_what_came_is_gone_on_with(
    zoo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.fails = ["cut"] + ["503"] * (fetching.ATTEMPTS - 1)
    failure(WeightsUnavailable, ADDRESS, "HTTP 503", "tried 5 times")
    sent = zoo.sent
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    assert zoo.sent - sent < len(CONTENT)


def test_a_content_shorter_than_it_claims_never_becomes_whole(zoo: Any, tmp_path: Path) -> None:
    zoo.fails = ["longer"] * 20
    failure(WeightsUnavailable, ADDRESS)
    assert fetched_before(ADDRESS) is None
    assert "R-50.pkl" not in kept_files(tmp_path)


def test_an_address_where_nobody_answers_is_named(web: Any, free_port: Callable[[], int]) -> None:
    failure(WeightsUnavailable, f"http://127.0.0.1:{free_port()}/model.pkl", "no answer")


def test_a_server_that_falls_silent_is_not_waited_for_without_end(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roastery.weights.remote.SILENCE_SECONDS", 0.2)
    zoo.fails = ["hold"]
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    assert len(zoo.asked) == 2


# What the user mends


@pytest.mark.parametrize(
    ("status", "words"), [("404", "no such file"), ("410", "no such file"), ("403", "not given"), ("400", "refuses")]
)
def test_what_is_not_there_or_not_given_is_asked_for_once(zoo: Any, tmp_path: Path, status: str, words: str) -> None:
    zoo.fails = [status]
    failure(CheckpointError, ADDRESS, words)
    assert len(zoo.asked) == 1
    assert kept_files(tmp_path) == set()


def test_a_wrong_digest_names_both_and_leaves_nothing(zoo: Any, tmp_path: Path) -> None:
    failure(CheckpointError, ADDRESS, SHA256, "0" * 64, sha256="0" * 64)
    assert len(zoo.asked) == 1
    assert kept_files(tmp_path) == set()


def test_what_was_kept_with_another_digest_is_fetched_again_and_stays_until_that_is_right(zoo: Any) -> None:
    path = local_weights(ADDRESS, SHA256)
    zoo.files[PATH] = b"new"
    failure(CheckpointError, ADDRESS, sha256="0" * 64)
    assert path.read_bytes() == CONTENT
    assert local_weights(ADDRESS, hashlib.sha256(b"new").hexdigest()) == path
    assert path.read_bytes() == b"new"


def test_the_digits_in_a_name_of_the_zoo_are_those_of_the_files_md5(
    zoo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = f"COCO-Detection/x/1/model_final_{hashlib.md5(CONTENT).hexdigest()[:6]}.pkl"
    wrong = "COCO-Detection/x/1/model_final_012345.pkl"
    zoo.files |= {f"/detectron2/{name}": CONTENT for name in (right, wrong)}
    # Another place may have other files, and is only told of.
    local_weights(f"detectron2://{right}")
    assert "MD5" not in caplog.text
    assert local_weights(f"detectron2://{wrong}").read_bytes() == CONTENT
    assert "does not begin with the 012345" in caplog.text

    monkeypatch.setattr("roastery.weights.address.DETECTRON2_URL", f"{zoo.url}/detectron2/")
    monkeypatch.setenv("ROASTERY_CACHE", str(tmp_path / "public"))
    local_weights(f"detectron2://{right}")
    failure(CheckpointError, f"detectron2://{wrong}", "MD5", "012345")


def test_redirects_are_followed_but_not_without_end(zoo: Any) -> None:
    zoo.redirects = {"/moved.pkl": PATH, "/round.pkl": "/and.pkl", "/and.pkl": "/round.pkl"}
    assert local_weights(f"{zoo.url}/moved.pkl").read_bytes() == CONTENT
    failure(CheckpointError, f"{zoo.url}/round.pkl", "without end")


@pytest.fixture
def secure(web: Any, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The server behind TLS, with a certificate that nobody else has signed: its URL, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a server of tests")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    public.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    server = web.start(context)
    yield f"https://127.0.0.1:{server.server_port}", public
    server.shutdown()
    server.server_close()


def test_a_certificate_that_is_not_trusted_is_the_users_to_mend(zoo: Any, secure: tuple[str, Path]) -> None:
    failure(CheckpointError, f"{secure[0]}{PATH}", "certificate is not trusted")
    assert zoo.asked == []


def test_who_asked_for_a_safe_connection_is_not_led_to_another(zoo: Any, secure: tuple[str, Path]) -> None:
    url, certificate = secure
    zoo.redirects = {"/moved.pkl": f"{zoo.url}{PATH}"}
    trusting = f"import os; os.environ['SSL_CERT_FILE'] = {str(certificate)!r}; "
    _, said = fetching_process(f"{url}/moved.pkl", before=trusting).communicate(timeout=60)
    assert "leads from https to an address that anybody can change" in said
    path, said = fetching_process(f"{url}{PATH}", before=trusting).communicate(timeout=60)
    assert Path(path.strip()).read_bytes() == CONTENT, said


def test_a_web_page_and_a_compressed_file_are_no_checkpoints(zoo: Any, tmp_path: Path) -> None:
    zoo.headers[PATH] = {"Content-Type": "text/html; charset=utf-8"}
    failure(CheckpointError, ADDRESS, "web page")
    zoo.headers[PATH] = {"Content-Encoding": "gzip"}
    failure(CheckpointError, ADDRESS, "compressed")
    assert kept_files(tmp_path) == set()


@pytest.mark.parametrize("claimed", [True, False], ids=["that says so", "that does not"])
def test_a_file_larger_than_any_checkpoint_is_not_fetched_whole(
    zoo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: bool
) -> None:
    monkeypatch.setattr(fetching, "MOST_BYTES", 1_000_000)
    if not claimed:
        zoo.lengths, zoo.headers[PATH] = False, {"Transfer-Encoding": "chunked"}
        zoo.files[PATH] = b"400000\r\n" + CONTENT[: 4 << 20] + b"\r\n0\r\n\r\n"
    failure(CheckpointError, ADDRESS, "larger than 1.0 MB")
    assert kept_files(tmp_path) == set()


def test_a_file_whose_end_nobody_knows_is_refused(zoo: Any, tmp_path: Path) -> None:
    zoo.lengths = False
    failure(CheckpointError, ADDRESS, "does not say how long")
    assert kept_files(tmp_path) == set()


def test_secrets_in_an_address_are_not_told(zoo: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    port = zoo.url.rpartition(":")[2]
    secret = f"http://me:hush@127.0.0.1:{port}/none.pkl?X-Amz-Signature=hush&part=1"
    for faults in (["404"], ["503"] * 9, ["none"] * 9):
        zoo.fails = faults
        with pytest.raises(RoasteryError) as caught:
            local_weights(secret)
        assert f"http://***@127.0.0.1:{port}/none.pkl?X-Amz-Signature=***&part=1" in str(caught.value)
        assert "hush" not in str(caught.value) + caplog.text
    zoo.fails = []
    zoo.files["/none.pkl"] = CONTENT
    path = local_weights(secret)
    assert zoo.asked[-1][0].endswith("X-Amz-Signature=hush&part=1")
    assert b"hush" not in (path.parent / "record.json").read_bytes()


# The cache


def test_a_damaged_file_is_fetched_again_with_a_word(zoo: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = local_weights(ADDRESS)
    path.write_bytes(b"damaged")
    assert fetched_before(ADDRESS) is None
    assert "is damaged" in caplog.text
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    (path.parent / "record.json").write_text("{")
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    assert len(zoo.asked) == 3


def test_a_cache_that_cannot_be_written_is_named(zoo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("ROASTERY_CACHE", str(tmp_path / "taken"))
    with pytest.raises(OutputError, match=r"taken.*name another folder in ROASTERY_CACHE"):
        local_weights(ADDRESS)


FETCH = "import sys; from roastery.weights.fetch import local_weights; print(local_weights(sys.argv[1]))"


def fetching_process(address: str = ADDRESS, before: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", before + FETCH, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_full_disk_is_the_users_error_and_leaves_nothing(zoo: Any, tmp_path: Path) -> None:
    # No file may become larger than this: the system refuses to write more, as on a full disk.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)); "
    _, said = fetching_process(before=limit).communicate(timeout=60)
    assert DiskFull.__name__ in said
    assert ADDRESS in said
    assert not {"partial", "R-50.pkl"} & kept_files(tmp_path)


def test_processes_that_want_the_same_address_at_once_fetch_it_once(zoo: Any) -> None:
    zoo.fails = ["hold"]
    first = fetching_process()
    assert zoo.begun.wait(60)
    talking = "import logging; logging.basicConfig(level=logging.INFO); "
    others = [fetching_process(before=talking) for _ in range(2)]
    for process in others:
        assert process.stderr is not None
        assert any("another process fetches it" in line for line in process.stderr)
    zoo.go_on.set()
    said = {process.communicate(timeout=60)[0].strip() for process in (first, *others)}
    assert len(said) == 1
    assert Path(said.pop()).read_bytes() == CONTENT
    assert len(zoo.asked) == 1


def test_a_killed_fetch_is_gone_on_with_by_the_next(zoo: Any, tmp_path: Path) -> None:
    zoo.fails = ["hold"]
    process = fetching_process()
    assert zoo.begun.wait(60)
    deadline = time.monotonic() + 60
    while not (begun := [file for file in tmp_path.rglob("partial") if file.stat().st_size > 1_000_000]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = begun[0].stat().st_size
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    assert zoo.asked[-1][1] == f"bytes={there}-"
    assert zoo.sent <= 1.5 * len(CONTENT)


def test_a_fetch_that_was_killed_before_its_end_was_said_needs_nothing_more(zoo: Any) -> None:
    path = local_weights(ADDRESS)
    record = json.loads((path.parent / "record.json").read_text())
    (path.parent / "partial.json").write_text(json.dumps(record["mark"]))
    path.rename(path.parent / "partial")
    assert local_weights(ADDRESS).read_bytes() == CONTENT
    assert len(zoo.asked) == 1


# S3


def put(url: str, content: bytes) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    path = url.removeprefix("s3://")
    headers = {"Content-Type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{path}", content, headers, method="PUT")):
        return


def test_a_checkpoint_on_s3_is_fetched_once_and_resumed(s3: str, s3_gate: Any, web: Any) -> None:
    address = f"{s3}/models/model_final.pkl"
    put(address, CONTENT)
    s3_gate.stop("GET", "model_final.pkl", "SlowDown", 2)
    path = local_weights(address, SHA256)
    assert path.read_bytes() == CONTENT
    asked = len(s3_gate.asked)
    assert local_weights(address) == path
    assert len(s3_gate.asked) == asked

    path.rename(path.parent / "partial")
    record = json.loads((path.parent / "record.json").read_text())
    (path.parent / "partial.json").write_text(json.dumps(record["mark"]))
    os.truncate(path.parent / "partial", 3_000_000)
    assert local_weights(address).read_bytes() == CONTENT
    sent = sum(out for method, _, _, out in s3_gate.asked[asked:] if method == "GET")
    assert sent < 3_000_000


def test_what_is_not_on_s3_is_named(s3: str, web: Any) -> None:
    failure(CheckpointError, f"{s3}/none.pkl", "no such file")
    failure(CheckpointError, "s3://no-such-bucket-here/none.pkl", "no such file")
