"""Builds the site: every lesson, guide, result table and docstring, as pages that need no server.

.venv/bin/python .site/build.py [--out build/site]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from stage import ROOT, stage

from autograder.release import swap

BUILT = "objects.inv"  # Sphinx writes it into every site


def build(out: Path) -> None:
    """Build into `out`, which appears whole or stays as it was.

    Raises `SystemExit` where `out` holds something else than a site, and where Sphinx complains:
    any warning is an error.
    """
    out = out.resolve()
    if out.exists() and not (out / BUILT).is_file():
        sys.exit(f"error: {out}: is there and is no site; name another folder with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.partial-", dir=out.parent) as folder:
        pages, built = Path(folder) / "pages", Path(folder) / "site"
        stage(pages)
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", "--builder", "html", "--jobs", "2", "--quiet",
             "--fail-on-warning", "--keep-going", "--conf-dir", str(Path(__file__).parent),
             "--doctree-dir", str(Path(folder) / "trees"), str(pages), str(built)],
        )  # fmt: skip
        if done.returncode:
            sys.exit("The site was not built; what is wrong stands above.")
        swap(built, out)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT / "build/site")
    out = options.parse_args().out
    build(out)
    print(f"Open {out / 'index.html'}")


if __name__ == "__main__":
    main()
