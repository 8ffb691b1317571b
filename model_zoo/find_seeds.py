"""Find the seeds with which no small model decides anything narrowly, and write them into seeds.py.

    python -m model_zoo.find_seeds [GLOB]

A seed that does already stays. To be run after a change of weights, images, margins or of what converts.
"""

import sys
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from model_zoo.build import answers_of, build_small, distinct
from model_zoo.seeds import SEEDS
from roastery.errors import ConfigError

MOST = 400
TIMES = 2.0
"""Of the least distance: so that what is wide here is not narrow on a machine that rounds otherwise."""
FILE = Path(__file__).with_name("seeds.py")


def find_seed(name: str) -> int:
    """The first seed, from the one of today, with which the config's small model finds enough and decides widely.

    Raises:
        ConfigError: the config cannot be converted.
    """
    first = SEEDS.get(name, 0)
    for seed in range(first, first + MOST):
        if not answers_of(build_small(name, seed), TIMES)[1]:
            return seed
    raise SystemExit(f"{name}: no seed from {first} to {first + MOST} does")


def main() -> None:
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    console, seeds = Console(soft_wrap=True, highlight=False), dict(SEEDS)
    for name in distinct():
        if not fnmatchcase(name, pattern):
            continue
        try:
            seeds[name] = find_seed(name)
        except ConfigError as error:
            console.print(f"{name}: {error}")
            continue
        console.print(f"{name}: {seeds[name]}")
        documentation = FILE.read_text(encoding="utf-8").splitlines()[0]
        rows = "".join(f'    "{each}": {seed},\n' for each, seed in sorted(seeds.items()))
        FILE.write_text(f"{documentation}\n\nSEEDS: dict[str, int] = {{\n{rows}}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
