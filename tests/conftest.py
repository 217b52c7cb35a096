"""Tests run on the CPU, also where there is a GPU: their figures are the CPU's."""

import os


def pytest_addoption(parser):
    parser.addoption(
        "--gpu", action="store_true", help="let tests see GPUs, as test_devices.py needs"
    )


def pytest_configure(config):
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
