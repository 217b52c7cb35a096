"""Where torchrun has started several processes: who leads, and what the others need of it."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from nodepert.agents.cli.run_folder import RunFolder
from nodepert.agents.distributed import DistributedNodePerturbation
from nodepert.agents.distributed.share import join
from nodepert.agents.files.checkpoints import newest_checkpoint
from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["agent_class", "are_several", "as_the_first_sees_it", "leads"]


def are_several() -> bool:
    """Whether torchrun has started this process."""
    return dist.is_torchelastic_launched()


def leads() -> bool:
    """Whether this is the only process, or the first of several."""
    return not are_several() or int(os.environ["RANK"]) == 0


def agent_class() -> type[NodePerturbation]:
    """The agent; of several processes, the one that shares a run."""
    return DistributedNodePerturbation if are_several() else NodePerturbation


@contextmanager
def as_the_first_sees_it(folder: RunFolder) -> Iterator[RunFolder]:
    """What a run is gone on from. Only the first process reads it: others may be on other machines.

    Args:
        folder: Of the run, as the first process has it.

    Yields:
        The folder; in the other processes a temporary one, with copies of what they need.

    Raises:
        ConfigError: There is no run that can be gone on with.
        CheckpointError: It has checkpoints, and none can be read.
    """
    if not are_several():
        yield folder
    elif leads():
        needed = files_needed(folder)
        join()
        dist.broadcast_object_list([needed])
        yield folder
    else:
        join()
        sent: list[dict[str, bytes]] = [{}]
        dist.broadcast_object_list(sent)
        with tempfile.TemporaryDirectory() as place:
            copy = RunFolder(pathlib.Path(place))
            copy.checkpoints.mkdir()
            for name, content in sent[0].items():
                (copy.path / name).write_bytes(content)
            yield copy


def files_needed(folder: RunFolder) -> dict[str, bytes]:
    """The settings and the newest good checkpoint, by their paths in the folder."""
    folder.read_settings()
    paths = [folder.settings]
    if folder.has_checkpoints:
        paths.append(newest_checkpoint(folder.checkpoints).path)
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}
