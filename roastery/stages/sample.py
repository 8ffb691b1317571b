"""Sample: a few images, as the net sees them, on which it is compared with the detector."""

from collections.abc import Mapping
from pathlib import Path

from roastery.digest import JSON
from roastery.results import ArtifactRef, PinnedDataset, ResolvedModel, StageResult, StageTiming
from roastery.spec import DatasetSpec, SampleSpec
from roastery.stages.dataset import load_sampled
from roastery.stages.stage import Facts, Request, Stage
from roastery.store import Store

INPUTS_FILE = "inputs.npz"
"""`<k>/data` (N, 3, H, W) float32 BGR 0..255, padded; `<k>/im_info` (N, 3) float32: height, width, 1.0.

Of a model that takes proposals also `<k>/rois` (n, 5) float32: index of the image, xyxy pixels.
"""


class SampleRequest(Request):
    """Sample the dataset for this model."""

    stage = "sample"
    packages = ("torch", "numpy", "Pillow")

    resolved: ResolvedModel
    dataset: DatasetSpec
    pinned: PinnedDataset
    sample: SampleSpec
    batch: int = 1
    """N, the images that the net takes at once."""

    def inputs(self) -> Mapping[str, JSON]:
        return {
            "config_sha256": self.resolved.config_sha256,
            "sample_sha256": self.pinned.sample_sha256,
            "n": self.sample.n,
            "seed": self.sample.seed,
            "batch": self.batch,
        }


class SampleFacts(Facts):
    """Which images."""

    image_ids: tuple[int, ...]


class SampleResult(StageResult):
    """Sampled images."""

    facts: SampleFacts


def run(request: SampleRequest, store: Store, directory: Path) -> SampleFacts:
    """Write `inputs.npz`.

    Raises:
        ConfigError: a model that has no deployable form.
        DatasetError: fewer images than asked for, one that cannot be read, or others than were pinned.
    """
    from roastery.data.preprocess import net_inputs, to_input
    from roastery.data.sampling import in_batches, sample_images
    from roastery.stages.arrays import save_samples
    from roastery.stages.pinned import open_pinned

    source = open_pinned(request.resolved, store)
    config, divisibility = source.config, source.size_divisibility()
    dataset = load_sampled(request.dataset, request.pinned)
    records = sample_images(dataset, **dict(request.sample))
    samples = []
    for batch in in_batches(records, request.batch):
        inputs = [to_input(record, config, dataset.proposals) for record in batch]
        samples.append(net_inputs(inputs, divisibility, config.MODEL.PIXEL_MEAN))
    save_samples(directory / INPUTS_FILE, samples)
    return SampleFacts(image_ids=tuple(record.id for record in records))


def _result(artifact: ArtifactRef, timing: StageTiming, facts: SampleFacts) -> SampleResult:
    return SampleResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(SampleRequest, SampleFacts, _result, run)
