"""`roastery predict`: a converted model over images, with pictures of what it found and COCO results."""

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.plain import plain
from roastery.errors import ConfigError, DatasetError
from roastery.targets import target_in

if TYPE_CHECKING:
    from roastery.data.vocabulary import Vocabulary
    from roastery.prediction.predict import Predicted, Unread


class RuntimeChoice(StrEnum):
    """Where the net is run."""

    TORCH = "torch"
    CAFFE2 = "caffe2"


class FormatChoice(StrEnum):
    """The order of an image's channels."""

    BGR = "BGR"
    RGB = "RGB"
    L = "L"


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="DIR", help="The converted model's folder, ours or the original converter's.")
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Image files, or folders of images.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the pictures; needed but for --json alone.", show_default=False),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="File for COCO results of all detections.", show_default=False)
    ] = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="What scores less is not drawn.")] = 0.5,
    runtime: Annotated[
        RuntimeChoice,
        typer.Option(help="Where a Caffe2 net is run; caffe2 is the genuine one. ONNX Runtime runs an ONNX model."),
    ] = RuntimeChoice.TORCH,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="COCO JSON with names of classes, category ids, skeletons, and the images' ids by file name.",
            show_default=False,
        ),
    ] = None,
    class_names: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Names of classes, in place of --annotations.")
    ] = None,
    min_size: Annotated[
        int | None, typer.Option(min=0, help="Pixels of an image's shorter side. Default: the net's, else 800.")
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Most pixels of the longer side. Default: the net's, else 1333.")
    ] = None,
    format: Annotated[
        FormatChoice | None, typer.Option(help="Order of the channels. Default: the net's, else BGR.")
    ] = None,
) -> None:
    """Run a converted model on images, and draw what it finds.

    Draws boxes, masks, keypoints or segments over each image, in
    OUTPUT/<its name>.png. Images of one name get their folder's name before
    it, or a number behind, which is said. Pictures of an earlier call are
    replaced, other files never. With --json, a panoptic model's segments also
    go to OUTPUT/<its name>.panoptic.png: there a segment's id is
    R + 256 G + 65536 B.

    Without --annotations, labels number the classes from 0; in the JSON,
    images are numbered from 1 in the order given, and a category is the
    class + 1.

    How an image is prepared stands in the net. The original converter's nets
    do not say it: for those, --min-size, --max-size and --format are the
    config's INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST and INPUT.FORMAT.

    Ends with 2 where an image could not be read, which is said, and the
    others are done; or where something else must be mended.

    Examples:

    roastery predict out photo.jpg -o found

    roastery predict out photos more/*.png -o found --class-names circle,square,triangle

    roastery predict out photos --json found.json --annotations instances.json
    """
    if output is None and json is None:
        raise ConfigError("nothing is to be written; give --output for pictures, --json for COCO results, or both")
    from roastery.prediction.images import find_images
    from roastery.prediction.predict import Wanted
    from roastery.prediction.predict import predict as predict_images

    vocabulary = _vocabulary(annotations, class_names)
    found = find_images(images)
    console = Console(soft_wrap=True, highlight=False)
    target = target_in(model)
    chosen = runtime.value if runtime.value in target.runtimes else next(iter(target.runtimes))
    with closing(target.load(model, chosen)) as net, _Told(console, len(found)) as told:
        config = net.preparation(min_size, max_size, None if format is None else format.value)
        predict_images(net, found, config, vocabulary, Wanted(output, json, threshold), told)
    done = len(found) - told.unread
    if done:
        count = f"{done} image" if done == 1 else f"{done} images"
        places = [f"pictures in [bold]{plain(str(output))}[/bold]"] if output is not None else []
        places += [f"COCO results in [bold]{plain(str(json))}[/bold]"] if json is not None else []
        console.print(f"{count}: {', '.join(places)}")
    if told.unread:
        raise DatasetError(f"{told.unread} of {len(found)} images could not be read; replace them, or leave them out")


def _vocabulary(annotations: Path | None, class_names: str | None) -> "Vocabulary":
    from roastery.data.vocabulary import Vocabulary, load_vocabulary, named_classes

    if annotations is not None and class_names is not None:
        raise ConfigError("--class-names and --annotations both name the classes; give one of them")
    if annotations is not None:
        return load_vocabulary(annotations)
    return Vocabulary() if class_names is None else named_classes(class_names)


class _Told:
    """Each image on a console as it is done, and a bar where someone watches."""

    def __init__(self, console: Console, images: int) -> None:
        self.unread = 0
        self._console = console
        self._errors = Console(stderr=True, soft_wrap=True, highlight=False)
        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._progress.add_task("detect", total=images)

    def __enter__(self) -> "_Told":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: "Predicted | Unread") -> None:
        from roastery.prediction.predict import Unread

        self._progress.advance(self._task)
        if isinstance(done, Unread):
            self.unread += 1
            self._errors.print(f"roastery: {plain(done.reason)}")
            return
        count = f"{done.detections} detection" if done.detections == 1 else f"{done.detections} detections"
        words = [count, *([f"{done.drawn} drawn"] if done.picture is not None else []), f"{done.milliseconds:.0f} ms"]
        renamed = done.picture is not None and done.picture.stem != done.image.stem
        words += [f"as {plain(done.picture.name)}"] if done.picture is not None and renamed else []
        self._console.print(f"{plain(str(done.image))}: {', '.join(words)}")
