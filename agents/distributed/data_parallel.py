"""One training run over several processes, each of which plays and learns from its own contexts."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.distributed as dist
from gymnasium.vector import AutoresetMode, VectorEnv

from nodepert.agents.config import Config
from nodepert.agents.distributed.share import (
    OwnLanes,
    OwnNoise,
    OwnProbes,
    WholeNoise,
    join,
    own_device,
)
from nodepert.agents.errors import ConfigError
from nodepert.agents.files.model_file import PLACE, capture, own_place, to_parts
from nodepert.agents.files.saving import FilePath, write_archive
from nodepert.agents.files.tensors import with_prefix
from nodepert.agents.lanes.handover import EnvLike
from nodepert.agents.lanes.vec_env import autoreset_mode
from nodepert.agents.methods import METHODS, Probing
from nodepert.agents.node_perturbation import NodePerturbation
from nodepert.agents.output_error import ProbeError
from nodepert.agents.policies import FeedbackPolicy
from nodepert.agents.statistics import RunningStatistics

__all__ = ["DistributedNodePerturbation"]


class DistributedNodePerturbation(NodePerturbation):
    """:class:`~nodepert.agents.NodePerturbation` with its contexts spread over processes.

    ``torchrun --nproc-per-node 4 script.py`` runs a script in four processes. With this class in
    the script, each holds the whole network, plays a quarter of the ``batch_size`` contexts, and
    averages its gradients with the others' by ``torch.distributed`` (gloo on CPUs, nccl on GPUs).
    The result is that of one process with the same seed, up to the order in which floats are
    summed. Probes and node noise are drawn by all from the common seed and not sent. Feedback
    weights that learn without the loss (``rule="response"``) learn the same in all processes: their
    cost is not shared.

    Only with ``credit`` paired, one_sided, one_point (whose losses are sent to all) or given, and
    where nothing but W and B is learned: no error model, replays, ``loss_ridge``, learned baseline,
    or running statistics. Callbacks run in all processes and must stop in all or none; logs are
    those of the process's own lanes. ``save`` writes in the first process alone, with its own
    lanes; :class:`~nodepert.agents.Checkpoints` in each process write what as many processes go on
    from, bit for bit. A process that waits ten minutes for another gives up, and torchrun then ends
    them all.

    Args:
        policy: See :class:`~nodepert.agents.NodePerturbation`, as for all else.
        env: Likewise; the lanes of a vector environment are this process's own, so each makes one.
        config: Likewise.
        seed: Likewise; None takes the first process's choice.
        device: "cuda": each process's own GPU. "auto": the same where there is one for each
            process of this machine, else the CPU.
        kwargs: Likewise.

    Raises:
        ConfigError: A hyperparameter or environment that is not valid, or that can't be shared; or
            there are no other processes.
    """

    def __init__(
        self,
        policy: str | type[FeedbackPolicy],
        env: EnvLike | None,
        config: Config | None = None,
        *,
        seed: int | None = None,
        device: torch.device | str = "auto",
        **kwargs: Any,
    ) -> None:
        self.share = join()
        self.leads = self.share.rank == 0
        own = own_device(device)
        super().__init__(policy, env, config, seed=common_seed(seed), device=own, **kwargs)

    def _contexts_to_make(self) -> int:
        batch, processes = self.config.batch_size, self.share.processes
        if batch % processes:
            raise ConfigError(f"batch_size={batch}: expected a multiple of {processes} processes")
        return batch // processes

    def _attach(self, env: EnvLike, vector_env: VectorEnv[Any, Any, Any]) -> None:
        if autoreset_mode(vector_env) is AutoresetMode.NEXT_STEP:
            raise ConfigError(
                "env resets lanes in a step of their own (AutoresetMode.NEXT_STEP), so that "
                "processes would learn from different numbers of steps; expected SAME_STEP"
            )
        super()._attach(env, vector_env)
        assert self._lanes is not None
        self._lanes = OwnLanes(self._lanes, self.share)

    def _draw_seeds(self, contexts: int) -> list[int]:
        return self.share.own(super()._draw_seeds(contexts * self.share.processes))

    def _setup_model(self) -> None:
        credit = self.config.credit
        if not issubclass(METHODS[credit], Probing):
            raise ConfigError(
                f"credit={credit!r}: expected 'paired', 'one_sided', 'one_point' or 'given' in "
                "several processes"
            )
        super()._setup_model()
        self._check_memory()
        assert isinstance(self.method, Probing)
        learner, share = self.method.learner, self.share
        descent = learner.descent
        if isinstance(learner.estimator, ProbeError):
            learner.estimator = OwnProbes(learner.estimator, share)
        if learner.node_probe is not None:
            learner.node_probe.noise = OwnNoise(descent.noise, share)
        descent.noise = WholeNoise(descent.noise, share)
        descent.average = share.average

    def _check_memory(self) -> None:
        """Raises ConfigError where more is learned than W and B."""
        learned = [*self.memory.state_dict()]
        learned += [n for n, m in self.policy.named_modules() if isinstance(m, RunningStatistics)]
        if learned:
            raise ConfigError(
                f"{', '.join(learned)}: learned from one process's lanes alone; expected a config "
                "in which only weights are learned (no error_model, replays, rule='loss_ridge', "
                "node_baseline='ema' or 'critic', normalize_observation) in several processes"
            )

    def save(self, path: FilePath, *args: Any, **kwargs: Any) -> None:
        """Writes the model, in the first process; see :class:`~nodepert.agents.NodePerturbation`.

        The file has the first process's lanes: to go on from it starts new episodes.
        """
        if self.leads:
            super().save(path, *args, **kwargs)

    def save_run(self, path: FilePath) -> None:
        """Writes the model with the lanes of all processes; each calls this, the first writes."""
        own = (self._moment or capture(self)).tensors
        # As arrays: torch's own pickles know no uint64.
        place = {name: v.cpu().numpy() for name, v in own.items() if name.startswith(PLACE)}
        parts: list[Any] = [None] * self.share.processes
        dist.gather_object((place, self._context_seeds), parts if self.leads else None)
        if not self.leads:
            return
        document, tensors = to_parts(self)
        document["processes"] = self.share.processes
        document["context_seeds"] = [seed for _, seeds in parts for seed in seeds or ()] or None
        for rank, (place, _) in enumerate(parts[1:], start=1):
            arrays = {name: torch.from_numpy(values) for name, values in place.items()}
            tensors.update(with_prefix(f"process{rank}", arrays))
        write_archive(path, document, tensors)

    def anywhere(self, flag: bool) -> bool:
        """See :class:`~nodepert.agents.NodePerturbation`."""
        return self.share.any(flag)

    def _own_part(
        self, document: dict[str, Any], tensors: dict[str, torch.Tensor]
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        own = own_place(document, tensors, self.share.rank, self.share.processes)
        seeds = document["context_seeds"]
        return {**document, "context_seeds": seeds and self.share.own(seeds)}, own


def common_seed(seed: int | None) -> int:
    """The first process's seed, or one that it draws where that is None."""
    drawn = [random.SystemRandom().randrange(2**32) if seed is None else seed]
    if dist.get_world_size() > 1:
        dist.broadcast_object_list(drawn)
    return drawn[0]
