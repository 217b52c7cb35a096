import struct

import numpy as np
import pytest
from matplotlib import get_backend
from matplotlib.image import imread

from nodepert.agents.plots import plot_curve, plot_dashboard, read_curves


def test_curves_where_there_are_values(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "time/total_timesteps,error,other\n0,0.9,\n10,,1\n20,0.5,2\n,0.4,3\n30,nan,4\n3"
    )
    curves = read_curves(path)
    assert curves.keys() == {"time/total_timesteps", "error", "other"}
    steps, errors = curves["error"]
    assert steps == [0, 20, 30]
    np.testing.assert_equal(errors, [0.9, 0.5, np.nan])
    assert curves["other"] == ([10, 20, 30], [1, 2, 4])
    path.write_text("")
    assert read_curves(path) == {}


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


def test_dashboard_has_a_panel_for_each_kind_of_curve(tmp_path):
    curve = ([0.0, 10.0], [0.5, 0.1])
    heights = []
    for columns in ([], ["eval/test_error"], ["eval/test_error", "weights/norm_1"],
                    ["eval/test_error", "weights/norm_1", "weights/norm_2"]):  # fmt: skip
        plot_dashboard(tmp_path / "watch.png", dict.fromkeys(columns, curve), "Run")
        content = (tmp_path / "watch.png").read_bytes()
        heights.append(struct.unpack(">II", content[16:24])[1])
    assert heights == [300, 300, 600, 600]
    assert {path.name for path in tmp_path.iterdir()} == {"watch.png"}
