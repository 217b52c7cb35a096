"""Model files: zips whose bytes, JSON, tensors or entries are not what they should be."""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import struct
import warnings
import zipfile
from functools import cache
from random import Random
from typing import Any

import gymnasium as gym
import torch
from driver import Target
from safetensors.torch import load, save
from torch import Tensor
from wild import damaged, json_value, replaced

from nodepert.agents import NodePerturbation

__all__ = ["TARGET"]

JSON, TENSORS = "nodepert.json", "tensors.safetensors"
MODELS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("RnnPolicy", "DelayedXOR-v0", {"batch_size": 2}),
    ("MlpPolicy", "CartPole-v1", {"n_envs": 2, "batch_size": 4, "n_steps": 4}),
    ("MlpPolicy", "CartPole-v1", {"credit": "value", "n_envs": 2, "batch_size": 4}),
    ("MlpPolicy", "Pendulum-v1", {"credit": "critic", "n_envs": 2, "batch_size": 4}),
    ("MlpPolicy", "DelayedXOR-v0", {"batch_size": 2, "rule": "loss_ridge", "error_model": True}),
    ("RnnPolicy", "DelayedXOR-v0", {"batch_size": 2, "replays": 1, "buffer_size": 8}),
)


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("executed", "w")


@cache
def originals() -> list[tuple[str, dict[str, Any], dict[str, Tensor]]]:
    """Environment, document and tensors of some small models that have learned for a while."""
    found = []
    for policy, env, settings in MODELS:
        model = NodePerturbation(policy, env, net_arch=(3,), seed=0, device="cpu", **settings)
        file = io.BytesIO()
        model.learn(16).save(file)
        with zipfile.ZipFile(file) as archive:
            found.append((env, json.loads(archive.read(JSON)), load(archive.read(TENSORS))))
    return found


def make(random: Random) -> tuple[bytes, str | None]:
    """A file, and the environment in which a run is to go on from it."""
    env, document, tensors = random.choice(originals())
    document, tensors, entries = {**document}, {**tensors}, {}
    kind = random.randrange(6)
    if kind == 0:
        content = archive({JSON: as_json(document), TENSORS: save(tensors)}, random)
        return damaged(random, content), None
    if kind in (1, 2):
        for _ in range(random.choice((1, 1, 1, 3))):
            document = replaced(random, document)
    if kind == 3:
        for _ in range(random.choice((1, 1, 3))):
            change(random, tensors)
    packed = save(tensors)
    if kind == 4:
        packed = with_header(random, packed)
    if kind == 5:
        entries = odd_entries(random)
    on = env if kind > 2 and random.random() < 0.5 else None
    return archive({JSON: as_json(document), TENSORS: packed, **entries}, random), on


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def archive(entries: dict[str, bytes], random: Random) -> bytes:
    """A zip, seldom a compressed one, or one in which a name stands twice."""
    file, packed = io.BytesIO(), random.random() < 0.02
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as made:
        warnings.simplefilter("ignore")
        for name, content in entries.items():
            made.writestr(name, content, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
            if random.random() < 0.02:
                made.writestr(name, damaged(random, content))
    return file.getvalue()


def change(random: Random, tensors: dict[str, Tensor]) -> None:
    """One tensor is gone, has another name, type or shape, or holds other values."""
    name = random.choice(sorted(tensors))
    tensor = tensors.pop(name)
    kind = random.randrange(8)
    if kind == 0:
        tensors[
            random.choice(("x", "policy.x", "optimizer.x.y", "optimizer.0.exp_avg", "memory.x"))
        ] = tensor
    elif kind == 1:
        tensors[name] = tensor.to(
            random.choice((torch.int64, torch.float64, torch.bool, torch.uint8))
        )
    elif kind == 2:
        tensors[name] = torch.zeros([random.randrange(4) for _ in range(random.randrange(4))])
    elif kind == 3:
        tensors[name] = tensor.flatten()[: random.randrange(4)].contiguous()
    elif kind == 4:
        tensors[name] = tensor.clone().double().fill_(random.choice((float("nan"), 1e300, -1e300)))
    elif kind == 5:
        tensors[name] = torch.full_like(tensor, random.choice((0, 1, 2, 127)))
    elif kind == 6:
        tensors[name] = tensor.clone()[None]


def with_header(random: Random, packed: bytes) -> bytes:
    """The tensors under another header: other types, shapes and places, or a length that lies."""
    (length,) = struct.unpack("<Q", packed[:8])
    header = replaced(random, json.loads(packed[8 : 8 + length]))
    written = as_json(header)
    told = len(written) if random.random() < 0.8 else random.choice((0, 1, 2**31, 2**63, 2**64 - 1))
    return struct.pack("<Q", told) + written + packed[8 + length :]


def odd_entries(random: Random) -> dict[str, bytes]:
    """Entries of hostile archives, some in place of the true ones."""
    bomb = pickle.dumps(Hostile())
    names = (
        "../escaped",
        "/tmp/escaped",
        "data",
        "policy.pth",
        "pytorch_variables.pth",
        "a\x00b",
        "a/",
    )
    found = {random.choice(names): random.choice((bomb, b"", random.randbytes(20)))}
    if random.random() < 0.7:
        found[random.choice((JSON, TENSORS))] = random.choice(
            (bomb, b"", b"[" * 100_000, b"9" * 5000, b"\xff\xfe{}", as_json(json_value(random)),
             b'{"format": 1, "format": 1}', b"null")
        )  # fmt: skip
    return found


def feed(given: tuple[bytes, str | None]) -> None:
    """Loads the file; acts with it, or goes on learning."""
    content, env = given
    path = pathlib.Path("input")
    path.write_bytes(content)
    try:
        if env is None:
            model = NodePerturbation.load(path, device="cpu")
            model.predict(model.observation_space.sample())
            return
        made = gym.make_vec(env, num_envs=4) if env == "DelayedXOR-v0" else env
        model = NodePerturbation.load(path, made, device="cpu", force_reset=env == "CartPole-v1")
        model.learn(8, reset_num_timesteps=False)
    finally:
        assert not pathlib.Path("executed").exists(), "a pickle was run"
        assert not pathlib.Path("../escaped").exists(), "an entry was unpacked outside"


TARGET = Target("model files", make, feed, share=0.05)
