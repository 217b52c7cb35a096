"""Conformance tests for loss environments: run them on your own task.

from nodepert.envs.testing import check_loss_env

def test_my_task():
    check_loss_env(MyTask)
    check_loss_env(lambda: MyTask(hard=True, expose_gradient=True))
"""

from __future__ import annotations

from nodepert.envs.base import LossEnv
from nodepert.envs.checks.batch import (
    Make,
    check_gradient,
    check_lane_independence,
    check_not_clipped,
    check_purity,
    check_shapes,
)
from nodepert.envs.checks.render import check_frames
from nodepert.envs.checks.single import (
    check_determinism,
    check_gymnasium,
    check_out_of_box,
    check_pickle,
    check_sb3,
    check_shared_memory,
    check_state,
    check_types,
)
from nodepert.envs.checks.vector import (
    check_autoreset,
    check_pairing,
    check_vector_memory,
    check_vector_state,
)
from nodepert.envs.errors import ContractError

__all__ = [
    "check_autoreset",
    "check_determinism",
    "check_frames",
    "check_gradient",
    "check_gymnasium",
    "check_lane_independence",
    "check_loss_env",
    "check_not_clipped",
    "check_out_of_box",
    "check_pairing",
    "check_pickle",
    "check_purity",
    "check_sb3",
    "check_shapes",
    "check_shared_memory",
    "check_state",
    "check_types",
    "check_vector_memory",
    "check_vector_state",
]

CHECKS = (
    check_shapes,
    check_purity,
    check_lane_independence,
    check_not_clipped,
    check_gradient,
    check_determinism,
    check_types,
    check_shared_memory,
    check_out_of_box,
    check_pickle,
    check_state,
    check_gymnasium,
    check_sb3,
    check_vector_memory,
    check_vector_state,
    check_frames,
)


def check_loss_env(make: Make, seeded: bool = True) -> None:
    """Runs every conformance test on a loss environment.

    Args:
        make: Makes a new environment each time it is called, unwrapped: a class, or a function.
        seeded: False for a task that depends on the number of the lane in place of its seed, such
            as ``MNIST(order="sequential")``: then lanes can't be paired, and only a vector
            environment of one lane can be compared with the single environment.

    Raises:
        ContractError: Says which part of the contract is broken.
    """
    env = make()
    if not isinstance(env, LossEnv):
        raise ContractError(f"make() gave a {type(env).__name__}, expected a LossEnv, unwrapped")
    for check in CHECKS:
        check(make)
    if seeded:
        check_pairing(make)
    check_autoreset(make, num_envs=3 if seeded else 1)
