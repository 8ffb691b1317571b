"""The docs say what is there: commands, options, configs, snippets, names, messages and paths are the code's own."""

import ast
import importlib
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

import cli.main
import roastery
import roastery.ops
from deployments.definitions import read_definitions
from roastery import errors
from roastery.caffe2.operators import table
from roastery.ops.definition import operators
from roastery.spec import PipelineConfig, load_datasets, load_models, load_pipeline

ROOT = Path(__file__).parent.parent
OF_PROMETHEUS = {"prometheus.yml", "alerts.yml"}
DOCS = ROOT / "docs"
PAGES = {str(page.relative_to(DOCS)): page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
README = (ROOT / "README.md").read_text(encoding="utf-8")

_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_OURS = re.compile(r"(?:^|[\s/=])(?:roastery|-m cli\.main) ([a-z-]\S*.*)")


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    language: str
    title: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """The code blocks of all pages and of the README, in these languages ("" for none)."""
    found = [
        Block(page, *match.groups(default=""))
        for page, text in {**PAGES, "README.md": README}.items()
        for match in _BLOCK.finditer(text)
    ]
    return [block for block in found if block.language in languages]


def inline_code() -> set[str]:
    """What stands in backticks in a sentence or a table."""
    return {code for text in PAGES.values() for code in _INLINE.findall(_BLOCK.sub("", text))}


@pytest.fixture(scope="module")
def generators() -> Iterator[ModuleType]:
    """The hooks that mkdocs calls, with what they import of `tools`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module("docs_hooks")


@pytest.fixture(scope="module")
def group() -> tuple[Any, Any]:
    """The app, and a context of it."""
    command: Any = typer.main.get_command(cli.main.app)
    return command, command.make_context("roastery", [], resilient_parsing=True)


def test_the_operators_page_lists_every_operator_that_converts() -> None:
    missing = [name for name in [*table(), *operators()] if f"`{name}`" not in PAGES["operators.md"]]
    assert missing == []


def test_every_command_line_is_one_that_the_app_takes(group: tuple[Any, Any]) -> None:
    app, context = group
    lines = [
        line
        for block in blocks("", "text", "ini", "bash")
        for line in block.text.replace("\\\n", " ").splitlines()
        if not line.startswith("#")
    ]
    commands = [match[1].split(">>")[0] for line in lines if (match := _OURS.search(line))]
    assert len(commands) > 10
    for line in commands:
        name, *arguments = shlex.split(line, comments=True)
        command = app.get_command(context, name)
        assert command is not None, line
        # Raises where an option is unknown, lacks its value, or is required and not there.
        command.make_context(name, arguments, parent=context)


def test_every_option_in_a_sentence_is_one_of_a_command(group: tuple[Any, Any]) -> None:
    app, context = group
    commands = [app.get_command(context, name) for name in app.list_commands(context)]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = {code.split()[0] for code in inline_code() if code.startswith("--")}
    assert len(named) > 5
    assert named <= known | options_of_the_cpp_program()


def options_of_the_cpp_program() -> set[str]:
    source = (ROOT / "cpp" / "src" / "command_line.cpp").read_text(encoding="utf-8")
    return set(re.findall(r'add_option\("(--[\w-]+)"', source))


def test_every_command_line_of_the_cpp_program_is_one_that_it_takes() -> None:
    lines = [line for block in blocks("") for line in block.text.replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if line.startswith("build/cpp/caffe2_detect ")]
    assert len(commands) == 2
    for line in commands:
        options = {word for word in shlex.split(line) if word.startswith("--")}
        assert {"--predict_net", "--init_net", "--input"} <= options <= options_of_the_cpp_program()


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {match for block in blocks("") for match in re.findall(r"^make ([a-z0-9]+)", block.text, re.MULTILINE)}
    named |= {code.removeprefix("make ") for code in inline_code() if re.fullmatch(r"make [a-z0-9]+", code)}
    assert {"demo", "test", "docs"} <= named
    assert named <= targets


def test_every_path_of_the_project_that_is_named_is_there() -> None:
    rooms = ("roastery", "cli", "deployments", "flows", "tasks", "tests", "docs", "examples", "tools")
    named = {code for code in inline_code() if re.fullmatch(rf"({'|'.join(rooms)})/[\w./-]*", code)}
    assert len(named) > 5
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_yaml_is_a_config_that_is_read(tmp_path: Path) -> None:
    loaders = {"models": load_models, "datasets": load_datasets}
    # Prometheus' own files are in its words.
    examples = [block for block in blocks("yaml") if block.page != "README.md" and block.title not in OF_PROMETHEUS]
    assert {Path(block.title).parent.name for block in examples} == {"models", "datasets", "configs"}
    for number, block in enumerate(examples):
        file = tmp_path / str(number) / block.title
        file.parent.mkdir(parents=True)
        file.write_text(block.text, encoding="utf-8")
        load = loaders.get(file.parent.name)
        if load is None:
            assert load_pipeline(file) != PipelineConfig()
        else:
            assert list(load(file.parent)) == [file.stem]


def test_the_files_of_prometheus_name_gauges_that_there_are() -> None:
    from roastery.registry.gauges import GAUGES

    files = {block.title: block.text for block in blocks("yaml") if block.title in OF_PROMETHEUS}
    assert files.keys() == OF_PROMETHEUS
    assert {job["job_name"] for job in yaml.safe_load(files["prometheus.yml"])["scrape_configs"]} == {
        "roastery",
        "prefect",
    }
    rules = [rule["expr"] for group in yaml.safe_load(files["alerts.yml"])["groups"] for rule in group["rules"]]
    assert len(rules) == 3
    for rule in rules:
        (gauge,) = re.findall(r"roastery_\w+", rule)
        assert gauge in GAUGES
    page = (ROOT / "docs" / "how-to" / "operate.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(roastery_\w+)`", page, re.MULTILINE) == list(GAUGES)


def test_every_python_snippet_compiles() -> None:
    snippets = blocks("python")
    assert len(snippets) > 10
    for block in snippets:
        compile(block.text, block.page, "exec")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the snippet of "Convert one model" was run: its converted model lies in `out`."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").symlink_to(ROOT / "examples")
    run_snippet("how-to/one-model.md", "", folder, sys.executable)
    return folder


def run_snippet(page: str, title: str, folder: Path, python: str) -> str:
    """Run the one Python snippet of a page that has this title, and give what it printed."""
    (snippet,) = [block for block in blocks("python") if (block.page, block.title) == (page, title)]
    done = subprocess.run(
        [python, "-c", snippet.text], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.xdist_group("docs")
def test_the_snippets_that_convert_and_run_a_model_do(converted: Path) -> None:
    assert {file.name for file in (converted / "out").iterdir()} >= {"model.pb", "model_init.pb"}
    assert "torch.Size" in run_snippet("how-to/run-the-model.md", "", converted, sys.executable)


@pytest.mark.xdist_group("docs")
def test_the_snippets_that_save_a_model_for_mlflow_and_predict_with_it_do(converted: Path) -> None:
    run_snippet("how-to/predict-with-mlflow.md", "save", converted, sys.executable)
    assert "triangle" in run_snippet("how-to/predict-with-mlflow.md", "predict", converted, sys.executable)


@pytest.mark.xdist_group("docs")
def test_the_snippets_for_onnx_runtime_do_with_and_without_roastery(mask_model: Path, tmp_path: Path) -> None:
    from roastery.conversion import convert_to_directory
    from roastery.targets import target_of

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    overrides = ["MODEL.WEIGHTS", str(mask_model / "model_final.pkl")]
    convert_to_directory(mask_model / "config.yaml", tmp_path / "out", overrides, target=target_of("onnxruntime"))
    assert "torch.Size" in run_snippet("how-to/onnx-runtime.md", "with Roastery", tmp_path, sys.executable)
    assert run_snippet("how-to/onnx-runtime.md", "ONNX Runtime alone", tmp_path, sys.executable).startswith("(")


@pytest.mark.caffe2
@pytest.mark.xdist_group("docs")
def test_the_snippet_for_genuine_caffe2_runs_there(converted: Path) -> None:
    from roastery.caffe2.caffe2_runtime import find_caffe2_python

    run_snippet("how-to/run-the-model.md", "genuine Caffe2", converted, str(find_caffe2_python()))


def test_every_error_that_a_user_can_mend_has_its_way_out() -> None:
    page = PAGES["how-to/troubleshooting.md"]
    raised = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    mendable = [kind.__name__ for kind in raised if issubclass(kind, errors.UserError)]
    assert len(mendable) > 5
    assert [name for name in mendable if f"\n## {name}\n" not in page] == []
    others = [kind.__name__ for kind in raised if kind.__name__ not in mendable and kind is not errors.RoasteryError]
    assert [name for name in others if f"`{name}`" not in page] == []


def test_every_message_in_troubleshooting_is_one_that_the_code_says() -> None:
    first_cells = re.findall(r"^\| (`.+?) \|", PAGES["how-to/troubleshooting.md"], re.MULTILINE)
    messages = [code for cell in first_cells for code in _INLINE.findall(cell) if " " in code]
    assert len(messages) > 20
    said = "\n".join(said_by_the_code())
    silent = [
        message
        for message in messages
        # `...` stands for what differs.
        for piece in re.split(r"\.\.\.", message)
        if piece.strip() and piece.strip(" :;'") not in said
    ]
    assert silent == []


def said_by_the_code() -> Iterator[str]:
    """The text of every string in the sources; what an f-string puts in is `...`."""
    for room in ("roastery", "cli", "flows", "tasks"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                    yield "".join(str(part) for part in parts)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_the_page_of_commands_has_every_argument_and_option(generators: ModuleType, group: tuple[Any, Any]) -> None:
    app, context = group
    page = generators.commands_page()
    for name in app.list_commands(context):
        section = page.split(f"## roastery {name}\n")[1].split("\n## ")[0]
        parameters = app.get_command(context, name).params
        assert len(parameters) > 2
        for parameter in parameters:
            assert (parameter.metavar or parameter.opts[0]) in section
            assert not parameter.help or parameter.help.split()[0].strip("`") in section


def test_a_new_command_comes_on_the_page_by_itself(generators: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def grind(beans: str, *, fine: bool = False) -> None:
        """Grind what was roasted.

        Examples:

        roastery grind arabica --fine
        """

    module = ModuleType("cli.grind")
    vars(module)["grind"] = grind
    monkeypatch.setitem(sys.modules, "cli.grind", module)
    monkeypatch.setitem(cli.main.COMMANDS, "grind", "Grind.")

    section = generators.commands_page().split("## roastery grind\n")[1]

    assert "Grind what was roasted." in section
    assert "`--fine" in section
    assert "```\nroastery grind arabica --fine\n```" in section


def test_the_page_of_configs_says_what_every_key_means(generators: ModuleType) -> None:
    page = generators.configs_page()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE)
    specs = [roastery.spec.ModelSpec, roastery.spec.DatasetSpec, PipelineConfig, roastery.spec.GateSpec]
    specs += [
        roastery.spec.Int8Spec,
        roastery.spec.ExportSpec,
        roastery.spec.SampleSpec,
        roastery.spec.Timeouts,
        roastery.spec.RetrySpec,
    ]
    assert sorted(name for name, _ in rows) == sorted(name for spec in specs for name in spec.model_fields)
    assert [name for name, columns in rows if not columns.split(" | ")[-1].strip()] == []


def test_the_page_of_configs_writes_every_default_out(generators: ModuleType) -> None:
    written = generators.configs_page().split("`pipeline.yaml` is:")[1].split("```")[1].removeprefix("yaml\n")
    assert PipelineConfig.model_validate(yaml.safe_load(written)) == PipelineConfig()
    assert set(yaml.safe_load(written)) == set(PipelineConfig.model_fields)


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://elsewhere.example/a.js"></script>',
        '<link rel="stylesheet" href="//elsewhere.example/a.css">',
        "<img alt=x src='http://elsewhere.example/a.png'>",
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(generators: ModuleType, html: str) -> None:
    assert "elsewhere.example" in "".join(generators.loaded_from_elsewhere(html))
    assert generators.loaded_from_elsewhere('<a href="https://elsewhere.example">x</a><img src="a.png">') == []


def test_the_page_of_the_service_names_all_that_is_deployed_and_every_field_of_the_forms() -> None:
    page = PAGES["how-to/run-a-service.md"]
    deployed = read_definitions()
    names = [each.name for each in deployed.deployments] + list(deployed.work_pools)
    names += [automation["name"] for automation in deployed.automations]
    for each in deployed.deployments:
        module, _, name = each.entrypoint.rpartition(".")
        names += inspect.signature(getattr(importlib.import_module(module), name).fn).parameters
    assert [name for name in names if f"`{name}`" not in page] == []
    for name, pool in deployed.work_pools.items():
        assert re.search(rf"^\| `{name}` \|.*\| {pool.concurrency_limit} \|$", page, re.MULTILINE)


def test_the_page_of_the_report_names_all_of_its_parts() -> None:
    named = re.findall(r"^\| ([A-Z][\w ]+?) \|", PAGES["how-to/read-the-report.md"], re.MULTILINE)
    titles = {
        node.args[0].value
        for file in (ROOT / "roastery" / "report").glob("*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Section"
        if isinstance(node.args[0], ast.Constant)
    }
    assert len(titles) > 5
    assert set(named) - {"Part"} == titles


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.xdist_group("docs")
def test_the_reference_has_every_public_name(site: Path) -> None:
    reference = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    assert len(roastery.__all__) > 2
    assert [name for name in roastery.__all__ if f'id="roastery.{name}"' not in reference] == []
    assert 'id="roastery.errors.UserError"' in reference


@pytest.mark.browser
@pytest.mark.xdist_group("docs")
def test_the_site_is_read_and_searched_from_the_file_system(site: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "how-to" / "one-model.html").as_uri())
        # The search listens to keys, not to what is filled in; and its index takes a busy machine long to read.
        page.get_by_placeholder("Search").press_sequentially("leases")
        expect(page.locator(".md-search-result__item").first).to_contain_text("Store, keys and leases", timeout=60_000)
        browser.close()
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
