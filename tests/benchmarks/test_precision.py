"""The precision table says what it means: the floor is a floor, and ours stands on it."""

import pytest
from precision import COLUMNS, DTYPES, FORMULAS, errors, markdown

from mergelab.zoo.shapes import Shape, write_models

SMALL = Shape(128, 1, 128, 4, 4, 32, vocabulary=1200)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", FORMULAS)
def test_our_error_is_the_floor_and_nobody_is_below_it(tmp_path, method, dtype):
    write_models(SMALL, tmp_path / "models", size=0.01, dtype=DTYPES[dtype])
    found = errors(tmp_path / "models", method, dtype)
    assert min(found.values()) == found["floor"] > 0
    assert found["mergelab"] <= 1.02 * found["floor"]
    if dtype != "float32":
        assert found["mergekit"] > 1.1 * found["floor"]
        assert found["mergekit, fp32"] < found["mergekit"]


def test_a_table_has_one_row_for_each_method_and_size_of_each_dtype():
    known = {"mean": 0.02, "low": 0.019, "high": 0.021}
    rows = [
        {"dtype": dtype, "size": 0.01, "method": "slerp", "errors": {"floor": known}}
        for dtype in DTYPES
    ]
    tables = markdown(rows, seeds=5)[2::2]
    assert len(tables) == len(DTYPES)
    expected = f"| slerp | 1.00% | 2.0 ± 0.1 % |{'  |' * (len(COLUMNS) - 1)}"
    assert {text.splitlines()[-1] for text in tables} == {expected}
