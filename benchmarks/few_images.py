"""A project of small models for the benchmarks: one of the demo zoo, on few images, as often as is asked for."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
_SHAPES = ROOT / "examples" / "shapes"
_IMAGES = 4


def configure(folder: Path, models: int, **pipeline: Any) -> Path:
    """Register so many models; gives the folder of their YAML. No two share an artifact but the sample.

    Args:
        pipeline: keys of pipeline.yaml.
    """
    content = json.loads((_SHAPES / "val" / "instances.json").read_text())
    content["images"] = content["images"][:_IMAGES]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in kept]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances.json").write_text(json.dumps(content))
    model = min(_SHAPES.glob("*/config.yaml")).parent
    specs: dict[str, dict[str, Any]] = {
        "datasets/few": {
            "name": "few",
            "images": str(_SHAPES / "val" / "images"),
            "annotations": str(folder / "instances.json"),
        },
        "pipeline": {"sample": {"n": 1}, **pipeline},
    }
    for number in range(models):
        name = f"{model.name}_{number:03}" if models > 1 else model.name
        specs[f"models/{name}"] = {
            "name": name,
            "config": str(model / "config.yaml"),
            "weights": str(model / "model_final.pkl"),
            "overrides": ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", str(0.05 + 0.0001 * number)],
            "dataset": "few",
            "runtimes": "torch",
        }
    for name, spec in specs.items():
        path = folder / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(spec))
    return folder / "configs" / "models"
