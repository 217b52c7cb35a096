import struct

import numpy as np
import pytest
from matplotlib import get_backend
from matplotlib.image import imread

from nodepert.agents.plots import plot_curve, read_columns


def test_columns_where_both_have_a_value(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("steps,error,other\n0,0.9,\n10,,1\n20,0.5,2\n,0.4,3\n30,nan,4\n")
    steps, errors = read_columns(path, "steps", "error")
    assert steps == [0, 20, 30]
    np.testing.assert_equal(errors, [0.9, 0.5, np.nan])
    assert read_columns(path, "steps", "nothing") == ([], [])


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("test_error", [0.9, 0.05, 0.02]),
        ("test_error", [0.9, 0.05, 0.0]),  # which a log scale can't show
        ("test_mse", [0.0451, 0.0449, 0.045]),
        ("go_accuracy", [0.5, 0.9, 1.0]),
        ("mean_return", [-200.0, -100.0, 0.0]),
        ("mean_return", []),
    ],
)
def test_curve_is_a_png_that_shows_something(tmp_path, metric, values, recwarn):
    path = tmp_path / "curve.png"
    backend = get_backend()
    plot_curve(path, list(range(0, 1000 * len(values), 1000)), values, metric, "Task, rule")
    assert not recwarn.list
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (720, 480)
    assert get_backend() == backend, "a library must not choose the backend of its user"
    blue = (imread(path)[..., :3] - [0.12, 0.47, 0.71]).__abs__().max(axis=2) < 0.02
    assert blue.any() == bool(values)
