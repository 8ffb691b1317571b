"""What a filed model takes and gives, as MLflow writes it down: its signature, and an example of what it takes."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

COLUMNS = ("image", "class", "score", "box", "mask", "keypoints")
"""Of the table of detections, in this order."""
THRESHOLD = "threshold"


def signature() -> "ModelSignature":
    """One column of image files' bytes, the table of detections, and the parameter `threshold`.

    The column has no name: a list or an array has none, and MLflow would refuse them for it. It is binary, so that
    MLflow's server decodes it from base64; MLflow lets text and paths pass for binary, too.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    rle = Object([Property("size", Array(DataType.long)), Property("counts", DataType.string)])
    kinds: dict[str, Any] = {
        "image": DataType.string,
        "class": DataType.string,
        "score": DataType.double,
        "box": Array(DataType.double),
        "mask": rle,
        "keypoints": Array(Array(DataType.double)),
    }
    optional = ("mask", "keypoints")
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary)]),
        outputs=Schema([ColSpec(kinds[name], name, required=name not in optional) for name in COLUMNS]),
        params=ParamSchema([ParamSpec(THRESHOLD, DataType.double, 0.0)]),
    )


def input_example() -> "pd.DataFrame":
    """A small picture, as a PNG file's bytes in the column `image`."""
    import pandas as pd

    picture = Image.new("RGB", (64, 48), (200, 200, 200))
    drawing = ImageDraw.Draw(picture)
    drawing.ellipse((8, 10, 30, 32), fill=(180, 60, 40))
    drawing.rectangle((36, 14, 56, 38), fill=(40, 80, 180))
    content = BytesIO()
    picture.save(content, "PNG")
    return pd.DataFrame({"image": [content.getvalue()]})
