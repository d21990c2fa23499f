"""`python -m mergelab.zoo [suites] [base] [adapters]`: rebuild data/, all of it by default."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mergelab.errors import UserError
from mergelab.zoo.build import STEPS, build


def main(arguments: list[str] | None = None) -> int:
    """Run the build that the command line asks for; return 0, or 2 for input to correct."""
    parser = argparse.ArgumentParser(
        prog="python -m mergelab.zoo",
        description="Rebuild the small models, adapters and suites in data/ (about 12 minutes).",
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)}; default all")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder to fill")
    options = parser.parse_args(arguments)
    try:
        build(options.steps or STEPS, options.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
