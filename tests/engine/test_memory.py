"""What a merge needs of memory and disk does not grow with the model."""

import shutil
import sys

import pytest
import yaml
from measuring import measure

from mergelab.zoo.shapes import Shape, write_models

MB = 1 << 20
SMALL = Shape(512, 1, 1024, 8, 2, 64, vocabulary=1200)
LARGE = Shape(2048, 1, 8192, 32, 8, 64, vocabulary=1200)  # tensors up to 32 times as large


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folders = {}
    for name, shape in (("small", SMALL), ("large", LARGE)):
        folders[name] = tmp_path_factory.mktemp("sizes") / name
        write_models(shape, folders[name])
    yield folders
    for folder in folders.values():
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("ties", {"density": 0.5, "trim_scope": "global"}),
        ("slerp", {"space": "weights"}),
    ],
    ids=["ties", "slerp"],
)
def test_the_peak_is_that_of_a_part_and_nothing_is_written_but_the_output(
    models, tmp_path, method, parameters
):
    found = {}
    for name, folder in models.items():
        recipe = {
            "merge_method": method,
            "models": [{"model": "adapter_1"}, {"model": "adapter_2"}],
            "parameters": parameters,
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        command = [sys.executable, "-m", "mergelab", "merge", "--backend", "cpu", "recipe.yaml"]
        work = tmp_path / name
        found[name] = measure([*command, str(work / "out")], work, folder)
        shutil.rmtree(work)
    small, large = found["small"], found["large"]
    assert large.output_bytes > 8 * small.output_bytes
    # less than the largest tensor, whole in fp32 and once, would take; factors remain
    assert large.peak_bytes - small.peak_bytes < 64 * MB, (small, large)
    assert large.scratch_bytes < MB
