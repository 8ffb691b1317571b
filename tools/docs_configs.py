"""The page of the configs, from the specs that read them: every key with its type, default, range and meaning."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from docs_commands import cell, code, names_table
from pydantic import BaseModel

from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

ROOT = Path(__file__).parent.parent
_LIMITS = {"minimum": "at least {}", "exclusiveMinimum": "over {}", "maximum": "at most {}"}
_TYPES = {"number": "number", "integer": "whole number", "boolean": "true or false", "string": "text"}

Schema = Mapping[str, Any]


def configs_page() -> str:
    """Markdown: a section for each kind of file, then one for each section that such a file may have."""
    parts = [
        "# Configs",
        "Roastery reads three kinds of YAML. An unknown key is refused, with the keys that there are.",
    ]
    for spec, place in (
        (ModelSpec, "configs/models/*.yaml"),
        (DatasetSpec, "configs/datasets/*.yaml"),
        (PipelineConfig, "configs/pipeline.yaml"),
    ):
        parts += [f"## {spec.__name__}", f"`{place}`. {spec.__doc__}", keys_table(spec)]
        example = sorted(ROOT.glob(place))[0]
        parts += [f"`{example.relative_to(ROOT)}`:", _fenced(example.read_text(encoding="utf-8"))]
    parts += [
        "A relative path in a model's or a dataset's file starts at the folder that holds `configs`. "
        "A relative store or registry starts at the folder that `roastery run` is started in.",
        "With every default written out, `pipeline.yaml` is:",
        _fenced(yaml.safe_dump(PipelineConfig().model_dump(mode="json"), sort_keys=False)),
    ]
    for name, section in sections().items():
        parts += [f"## {name}", section["description"], _table(section, sections())]
    return "\n\n".join(parts) + "\n"


def sections() -> dict[str, Schema]:
    """The specs that are parts of others, by name."""
    found: dict[str, Schema] = {}
    for spec in (ModelSpec, DatasetSpec, PipelineConfig):
        found |= spec.model_json_schema().get("$defs", {})
    return found


def keys_table(spec: type[BaseModel]) -> str:
    """A row for each key of a spec."""
    return _table(spec.model_json_schema(), sections())


def _table(schema: Schema, known: Mapping[str, Schema]) -> str:
    rows = ["| Key | Type | Default | Range | Meaning |", "|---|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else _default(field)
        section = known.get(_section(field) or "")
        meaning = field.get("description") or (section or {}).get("description", "")
        columns = [f"`{name}`", _type(field), default, ", ".join(_limits(field)), cell(meaning)]
        rows.append(f"| {' | '.join(columns)} |")
    return names_table(rows)


def _type(field: Schema) -> str:
    section = _section(field)
    if section is not None:
        return f"[{section}](#{section.lower()})"
    (field, *_) = _kinds(field)
    if "enum" in field:
        return ", ".join(code(value) for value in field["enum"])
    if "const" in field:
        return code(field["const"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if field.get("type") == "object":
        return "names, each with a text"
    return "path" if field.get("format") == "path" else _TYPES[field["type"]]


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None:
        return "none"
    if isinstance(default, Mapping) and (default or _section(field)):
        return "its own defaults"
    return code(yaml.safe_dump(default, default_flow_style=True).removesuffix("...\n").strip())


def _limits(field: Schema) -> Iterator[str]:
    for kind in _kinds(field):
        for key, text in _LIMITS.items():
            if key in kind:
                yield text.format(f"{kind[key]:g}")
        if kind.get("minLength") == 1:
            yield "not empty"
        if "pattern" in kind:
            yield code(kind["pattern"])
        for pattern in kind.get("patternProperties", {}):
            yield f"names: {code(pattern)}"


def _section(field: Schema) -> str | None:
    """The name of the spec that the value is, if it is one."""
    names = [kind["$ref"].rpartition("/")[2] for kind in _kinds(field) if "$ref" in kind]
    return names[0] if names else None


def _kinds(field: Schema) -> list[Schema]:
    """What the value may be, besides nothing."""
    return [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]


def _fenced(text: str) -> str:
    return f"```yaml\n{text.strip()}\n```"
