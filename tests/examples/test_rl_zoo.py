"""rl_zoo3 trains and tunes our agent, where it is installed."""

import pytest

pytest.importorskip("rl_zoo3")


def test_training_with_the_presets(run_script, tmp_path):
    done = run_script("rl_zoo.py", "--env", "CartPole-v1", "--n-timesteps", 2048, "--eval-freq", -1,
                      "--log-folder", tmp_path, cwd=tmp_path, apart=True)  # fmt: skip
    assert "total_timesteps | 2048" in done
    assert (tmp_path / "np/CartPole-v1_1/CartPole-v1.zip").exists()
