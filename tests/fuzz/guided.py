"""Fuzzes the two readers of bytes, guided by the coverage of their code; needs atheris.

    pip install atheris
    python tests/fuzz/guided.py idx -runs=200000
    python tests/fuzz/guided.py model -runs=20000

Further words are libFuzzer's. It stops at the first input that is neither accepted nor rejected in
words, and keeps it in a file named ``crash-…``.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["nodepert.envs.idx", "nodepert.agents.files", "zipfile"]):
    from nodepert.agents import NodePerturbation
    from nodepert.envs import NodepertError
    from nodepert.envs.idx import read_idx

PATH = pathlib.Path(tempfile.mkdtemp()) / "input"


def idx(content: bytes) -> None:
    """One file of images."""
    PATH.write_bytes(content)
    with contextlib.suppress(NodepertError):
        read_idx(PATH, 3)


def model(content: bytes) -> None:
    """One model file."""
    with contextlib.suppress(NodepertError):
        NodePerturbation.load(io.BytesIO(content), device="cpu")


def seeds(name: str) -> list[bytes]:
    """What to start from: valid files."""
    if name == "idx":
        whole = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4])
        return [whole, gzip.compress(whole, mtime=0)]
    file = io.BytesIO()
    agent = NodePerturbation("MlpPolicy", "CartPole-v1", net_arch=(2,), n_envs=2, device="cpu")
    agent.save(file)
    return [file.getvalue()]


def main() -> None:
    targets = {"idx": idx, "model": model}
    if len(sys.argv) < 2 or sys.argv[1] not in targets:
        sys.exit(__doc__)
    corpus = pathlib.Path(tempfile.mkdtemp())
    for number, content in enumerate(seeds(sys.argv[1])):
        (corpus / str(number)).write_bytes(content)
    atheris.Setup([sys.argv[0], *sys.argv[2:], "-timeout=10", str(corpus)], targets[sys.argv[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
