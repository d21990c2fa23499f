"""The site, built once by the command that `make site` runs."""

from pathlib import Path

import pytest
from site_builder import built


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("website") / "site"
    done = built(out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Open {out / 'index.html'}\n"
    assert [each.name for each in out.parent.iterdir()] == ["site"]  # nothing half done is left
    return out
