"""Kinds of node noise: their moments, and that λ̂ is unbiased under each."""

import pytest
import torch

from nodepert.agents import Config, ConfigError, NodePerturbation
from nodepert.agents.algorithm.node_noise import NOISES, Sparse
from nodepert.agents.maths import node_perturbation, response_feedback_gradient

KINDS = {name: (cls(stds=(0.5, 2.0)) if cls is not Sparse else cls((0.5, 2.0), 0.2, False))
         for name, cls in NOISES.items()}  # fmt: skip


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_covariance_is_the_variance_times_identity(kind, layer):
    noise, random = KINDS[kind], generator()
    xi = torch.cat([noise.sample((5, 5), layer, random) for _ in range(8_000)])
    covariance = xi.t() @ xi / len(xi)
    expected = noise.variance(layer) * torch.eye(5)
    torch.testing.assert_close(covariance, expected, rtol=0, atol=0.05 * noise.variance(layer))
    assert xi.mean(0).abs().max() < 0.02 * noise.stds[layer]


@pytest.mark.parametrize("kind", KINDS)
def test_estimate_of_a_linear_loss_is_unbiased(kind):
    noise, gradient = KINDS[kind], torch.tensor([1.0, -2.0, 0.5])
    random = generator()
    xi = torch.cat([noise.sample((3, 3), 0, random) for _ in range(8_000)])
    estimate = node_perturbation(xi @ gradient, xi, noise.variance(0))
    error = estimate.std(0) / len(estimate) ** 0.5
    assert ((estimate.mean(0) - gradient).abs() < 4 * error).all()


def test_lengths():
    signs = KINDS["rademacher"].sample((9, 4), 0, generator())
    assert set(signs.flatten().tolist()) == {-0.5, 0.5}
    sphere = KINDS["sphere"].sample((9, 2, 3), 1, generator())
    torch.testing.assert_close(sphere.flatten(1).norm(dim=1), torch.full((9,), 2.0 * 6**0.5))
    sparse = KINDS["sparse"].sample((4000, 5), 0, generator())
    assert 0.18 < (sparse != 0).float().mean() < 0.22


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (64, 256), (30, 2, 50)])
def test_orthogonal_noise_is_orthogonal(shape):
    xi = KINDS["orthogonal"].sample(shape, 1, generator()).flatten(1)
    expected = xi.shape[1] * 2.0**2 * torch.eye(len(xi))
    torch.testing.assert_close(xi @ xi.t(), expected, rtol=1e-4, atol=1e-2)
    assert KINDS["orthogonal"].largest(xi, 1) == pytest.approx(expected[0, 0].item(), rel=1e-4)


def test_orthogonal_noise_brings_feedback_a_quarter_of_the_way():
    """An update is exact in a quarter of all directions; the others stay as they were."""
    noise, random = KINDS["orthogonal"], generator()
    weight = torch.randn(50, 512, generator=random)
    xi = noise.sample((noise.trials(1_000, (512,)), 512), 0, random)
    gradient = response_feedback_gradient(
        torch.zeros_like(weight), xi, xi @ weight.t(), noise.largest(xi, 0)
    )
    left = weight + gradient  # B starts at 0
    torch.testing.assert_close(left @ xi.t(), torch.zeros(50, 128), rtol=0, atol=1e-2)
    assert left.square().sum() / weight.square().sum() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(("nodes", "trials"), [(2, 2), (50, 50), (128, 64), (512, 128)])
def test_of_few_nodes_all_are_tried(nodes, trials):
    assert KINDS["orthogonal"].trials(1_000, (nodes,)) == trials


def test_authors_scaling_drives_feedback_to_p_times_the_weights(tasks):
    ratios = []
    for authors_scaling in (False, True):
        model = NodePerturbation(
            "MlpPolicy", tasks.Echo(dim=4, expose_gradient=True), rule="loss_ridge", seed=0,
            credit="given", node_noise="sparse", node_probability=0.25, node_std=0.2,
            authors_scaling=authors_scaling, net_arch=(6,), learning_rate=0.0, batch_size=256,
        ).learn(256 * 3 * 300)  # fmt: skip
        weight = model.policy.network.layers[-1].weight.detach()
        feedback = model.policy.network.layers[-1].feedback
        ratios.append(float((feedback * weight).sum() / weight.square().sum()))
    assert ratios[0] == pytest.approx(1, abs=0.1)
    assert ratios[1] == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_response_learns_under_each(tasks, kind):
    model = NodePerturbation("MlpPolicy", tasks.Echo(dim=4), node_noise=kind, seed=0,
                             net_arch=(10,), node_probability=0.3).learn(128 * 300)  # fmt: skip
    layer = model.policy.network.layers[-1]
    assert (layer.feedback - layer.weight).norm() < 0.1 * layer.weight.norm()


def test_one_scale_for_each_layer(tasks):
    made = NodePerturbation("MlpPolicy", tasks.Echo(), net_arch=(5, 4), node_std=(0.1, 0.3))
    assert made.method.learner.descent.noise.stds == (0.1, 0.3)
    with pytest.raises(ConfigError, match=r"node_std=\(0.1, 0.3\): expected one .* 3 hidden"):
        NodePerturbation("MlpPolicy", tasks.Echo(), net_arch=(5, 4, 3), node_std=(0.1, 0.3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"node_noise": "pink"}, r"node_noise='pink'.*gaussian.*sphere"),
        ({"node_probability": 0.0}, "node_probability=0.0: expected a number above 0, at most 1"),
        ({"node_std": (0.1, -1)}, r"node_std=\(0.1, -1\)"),
        ({"node_std": 0.0, "rule": "loss_ridge"}, "node_std=0.0: rule='loss_ridge' learns from"),
        ({"node_baseline": "x"}, "node_baseline='x'.*antithetic"),
        ({"forgetting": 1.5}, "forgetting=1.5: expected a number above 0, at most 1"),
        ({"ridge": -1.0}, "ridge=-1.0"),
        ({"authors_scaling": 1}, "authors_scaling=1: expected True or False"),
        ({"warmup": -1}, "warmup=-1: expected an integer of at least 0"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        Config(**changes)
