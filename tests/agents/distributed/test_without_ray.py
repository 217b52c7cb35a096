"""Ray is optional."""

import sys

import pytest

from nodepert.agents import ConfigError
from nodepert.agents.distributed import make_ray_vec


def test_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'nodepert\[ray\]'"):
        make_ray_vec("DelayedXOR-v0", 2)
