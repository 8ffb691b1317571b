"""What a model scored when it was trained, from the file that detectron2 leaves: `metrics.json`."""

import json
import re
import sys
from pathlib import Path

from roastery.errors import ConfigError
from roastery.regular_file import require_regular

METRICS_FILE = "metrics.json"
_LONGEST = 64 << 20
_LARGEST = sys.float_info.max
_NAME = re.compile(r"[a-z_]+/[\w .:-]{1,100}")


def read_training_metrics(file: Path) -> dict[str, float]:
    """The last figure of each metric of an evaluation ("bbox/AP", "segm/AP50", ...), 0..100.

    detectron2 writes a line of JSON every so many iterations; one JSON object is read too. Losses, times and what is
    no number are left out.

    Raises:
        ConfigError: no such file, or not such lines.
    """
    try:
        require_regular(file)
        if file.stat().st_size > _LONGEST:
            raise ConfigError(f"{file}: is larger than {_LONGEST >> 20} MiB; give metrics.json of one training")
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); name detectron2's metrics.json") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is no text; name detectron2's metrics.json") from error
    found: dict[str, float] = {}
    for number, line in enumerate(lines if len(lines) > 1 and lines[0].rstrip().endswith("}") else ["".join(lines)], 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{file}: line {number} is not JSON; name detectron2's metrics.json") from error
        if not isinstance(said, dict):
            raise ConfigError(f"{file}: line {number} is no JSON object; name detectron2's metrics.json")
        for name, value in said.items():
            if _NAME.fullmatch(name) and type(value) in (int, float) and abs(value) <= _LARGEST:
                found[name] = float(value)
    return found
