"""One training run over many processes: lanes on Ray workers, or gradients through torch."""

from nodepert.agents.distributed.data_parallel import DistributedNodePerturbation
from nodepert.agents.distributed.make import make_ray_vec

__all__ = ["DistributedNodePerturbation", "make_ray_vec"]
