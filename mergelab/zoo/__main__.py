"""`python -m mergelab.zoo [suites] [base] [adapters]`: rebuild data/, all of it by default."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from mergelab.errors import UserError
from mergelab.zoo.build import STEPS, build


def main(arguments: list[str] | None = None) -> int:
    """Run the build that the command line asks for; return 0, or 2 for input to correct."""
    parser = argparse.ArgumentParser(
        prog="python -m mergelab.zoo",
        description="Rebuild models, adapters and suites in data/ (some 30 minutes on 2 cores).",
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)}; default all")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder to fill")
    parser.add_argument(
        "--training-steps", type=int, metavar="N", help="train only N steps, to try the build out"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=(), help="of the adapters, train only these"
    )
    options = parser.parse_args(arguments)
    # A polite end, by which the folder aside is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        build(
            options.steps or STEPS,
            options.out,
            training_steps=options.training_steps,
            only=options.only,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
