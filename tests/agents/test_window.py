"""What a window of steps takes for a divergence, and what not."""

import gymnasium as gym

from nodepert.agents import NodePerturbation


def test_sparse_noise_that_perturbs_no_node_is_no_divergence():
    # Of 4 nodes with p = 0.1, two contexts in three have none that is perturbed.
    model = NodePerturbation(
        "RnnPolicy",
        gym.make("DelayedXOR-v0", stream=True, expose_gradient=True),
        credit="given",
        rule="loss",
        node_noise="sparse",
        node_baseline="clean",
        net_arch=(4,),
        batch_size=8,
        seed=0,
    )
    before = model.policy.network.recurrent.feedback.clone()
    model.learn(1_000)
    assert not before.equal(model.policy.network.recurrent.feedback)
