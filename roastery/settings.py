"""What a conversion was asked for, in names and short values: what is put on record beside its figures."""

from roastery.digest import canonical_json
from roastery.spec import ModelSpec, PipelineConfig
from roastery.targets.target import Target


def told_settings(model: ModelSpec, pipeline: PipelineConfig, target: Target) -> dict[str, str]:
    """The settings of a model's run by their names in the configs: `gate/max_ap_delta`, `sample/n`, ..."""
    gate = target.gate(model, pipeline).model_dump(mode="json")
    settings = {f"gate/{name}": canonical_json(value) for name, value in gate.items()}
    settings |= {f"sample/{name}": str(value) for name, value in pipeline.sample.model_dump(mode="json").items()}
    return settings | {
        **{f"{target.name}/{name}": canonical_json(value) for name, value in target.settings(model).items()},
        "target": target.name,
        "source": model.source,
        "custom_modules": " ".join(model.custom_modules),
        "runtimes": model.runtimes,
        "shards": str(pipeline.shards),
        "overrides": " ".join(model.overrides),
        "tags": ", ".join(model.tags),
    }
