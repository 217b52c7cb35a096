"""Stored probes: what scouts tell of the curvature, what is believed, and what it brings."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from nodepert.agents import ConfigError, NodePerturbation
from nodepert.agents.evaluation import evaluate
from nodepert.agents.output_error import OnePointProbes, PairedProbes
from nodepert.agents.replay import Replay
from nodepert.agents.replay.curvature import Curvature
from nodepert.agents.replay.probe_buffer import ProbeBuffer
from nodepert.agents.replay.replay import scouting_groups
from nodepert.envs import LossEnv


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(rows, dim, random):
    drawn = torch.randn(rows, dim, generator=random)
    return drawn / drawn.norm(dim=1, keepdim=True)


class Bowl(LossEnv):
    """Say a linear function of what is shown; deviations cost P-weighted squares, or otherwise."""

    CURVATURE = np.array([0.5, 3.0, 1.0])

    def __init__(self, kind="quadratic"):
        super().__init__()
        self.kind = kind
        self.observation_space = spaces.Box(-1, 1, (4,), np.float32)
        self.action_space = spaces.Box(-1, 1, (3,), np.float32)

    def sample_contexts(self, draws):
        shown = (2 * draws.uniform(4) - 1).astype(np.float32)
        return {"observation": shown, "noise": draws.normal(1)}

    def loss(self, context, actions):
        shown = context["observation"]
        target = np.stack([shown[:, :2].mean(1), -shown[:, 2], shown[:, 3] / 2], axis=1)
        missed = actions - target
        if self.kind == "quadratic":
            return 0.5 * (self.CURVATURE * missed**2).sum(axis=1)
        if self.kind == "correlated":
            return 0.5 * ((missed**2).sum(axis=1) + 10 * missed.sum(axis=1) ** 2)
        if self.kind == "absolute":
            return np.abs(missed).sum(axis=1)
        if self.kind == "quantised":
            return np.abs(np.round(4 * missed) / 4).sum(axis=1)
        assert self.kind == "noisy"  # differs by context, not by lane
        return (missed**2).sum(axis=1) * np.exp(context["noise"][:, 0])


def make(kind="quadratic", seed=0, **changes):
    settings = {"net_arch": (32,), "batch_size": 32, "learning_rate": 3e-3, "credit": "paired"}
    return NodePerturbation("MlpPolicy", Bowl(kind), seed=seed, **{**settings, **changes})


ONE_POINT = {"credit": "one_point", "probe_std": 2.0}


# The curvature ------------------------------------------------------------------------------------


def scouts(hessian, rows, random, noise=0.0):
    """u, Δ, and the slopes of ½ (a − t)ᵀP(a − t) at a and at a + Δ."""
    dim = len(hessian)
    along, moved = unit(rows, dim, random), torch.randn(rows, dim, generator=random)
    gradient = torch.randn(rows, dim, generator=random)
    before = (along * gradient).sum(1)
    after = (along * (gradient + moved @ hessian)).sum(1)
    return along, moved, before, after + noise * torch.randn(rows, generator=random)


def test_a_diagonal_hessian_is_found():
    random = generator()
    hessian = torch.diag(torch.tensor([0.5, 3.0, 1.0, -0.2]))
    curvature = Curvature(4, length=1.0)
    for _ in range(100):
        curvature.fit(*scouts(hessian, 4, random))
        assert not curvature.hessian.full
    found = curvature.hessian.diagonal.float()
    torch.testing.assert_close(found, hessian.diagonal(), atol=1e-3, rtol=1e-3)
    probes, moved = torch.randn(5, 2, 4, generator=random), torch.randn(5, 4, generator=random)
    expected = torch.einsum("nkd,de,ne->nk", probes, hessian, moved)
    torch.testing.assert_close(curvature.change(probes, moved), expected, atol=0.1, rtol=0.03)


def test_a_full_hessian_is_found_where_the_diagonal_does_not_explain():
    random = generator()
    drawn = torch.randn(4, 4, generator=random)
    hessian = drawn @ drawn.t()
    curvature = Curvature(4, length=1.0)
    for _ in range(200):
        curvature.fit(*scouts(hessian, 4, random))
    assert curvature.hessian.full
    probes, moved = torch.randn(5, 2, 4, generator=random), torch.randn(5, 4, generator=random)
    expected = torch.einsum("nkd,de,ne->nk", probes, hessian, moved)
    torch.testing.assert_close(curvature.change(probes, moved), expected, atol=1e-2, rtol=1e-2)
    bend = torch.einsum("nkd,de,nke->nk", probes, hessian, probes) / 2
    torch.testing.assert_close(curvature.bend(probes), bend, atol=1e-2, rtol=1e-2)


def test_noise_is_no_reason_for_a_full_hessian():
    random = generator()
    curvature = Curvature(6, length=1.0)
    for _ in range(400):
        curvature.fit(*scouts(torch.eye(6), 4, random, noise=3.0))
    assert curvature.hessian.unexplained > 0.5
    assert not curvature.hessian.full


def test_a_multiple_of_the_identity_takes_few_scouts_whatever_the_dimension():
    random, dim = generator(), 200
    curvature = Curvature(dim, length=1.0)
    for _ in range(10):
        curvature.fit(*scouts(2 * torch.eye(dim), 4, random))
    assert (curvature.hessian.diagonal - 2).abs().max() < 0.1


def test_trust_is_whole_on_a_quadratic_and_falls_with_the_distance_elsewhere():
    random = generator()
    quadratic, wiggly = Curvature(3, length=1.0), Curvature(3, length=1.0)
    for _ in range(300):
        quadratic.fit(*scouts(torch.eye(3), 4, random))
        along = unit(4, 3, random)
        moved = along * 2 ** (6 * torch.rand(4, 1, generator=random) - 3)
        start = 6 * torch.rand(4, generator=random)
        # The slope of a sine: after a whole turn nothing is left of what was known.
        wiggly.fit(along, moved, torch.cos(start), torch.cos(start + moved.norm(dim=1)))
    moved = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [1.0, 0, 0], [6.0, 0, 0]])
    slope, correlation = quadratic.trust(moved[:3])
    assert correlation.min() > 0.99
    assert slope.min() > 0.98
    slope, correlation = wiggly.trust(moved)
    assert slope[0] == correlation[0] == 1
    assert correlation[1] > 0.9
    assert correlation[3] < 0.3
    assert (slope.diff() <= 0).all()


def test_nothing_is_believed_before_there_were_scouts():
    slope, correlation = Curvature(3, length=1.0).trust(torch.eye(3))
    assert slope.tolist() == correlation.tolist() == [0, 0, 0]


def test_a_softmax_hessian_is_approximated():
    """Of cross-entropy P is diag(p) − p pᵀ: neither diagonal nor constant."""
    random = generator()
    curvature = Curvature(5, length=0.2)
    for _ in range(500):
        logits, along = torch.randn(4, 5, generator=random), unit(4, 5, random)
        moved = 0.3 * torch.randn(4, 5, generator=random)
        label = torch.nn.functional.one_hot(torch.randint(5, (4,), generator=random), 5)
        slopes = [
            (along * (torch.softmax(at, 1) - label)).sum(1) for at in (logits, logits + moved)
        ]
        curvature.fit(along, moved, *slopes)
    assert (curvature.hessian.diagonal > 0.02).all()
    _, correlation = curvature.trust(moved)
    assert correlation.min() > 0.9


# The buffer ---------------------------------------------------------------------------------------


def rows(start, count):
    first = torch.arange(start, start + count, dtype=torch.float32)
    return {
        "inputs": first[:, None].repeat(1, 3), "probes": first[:, None, None].repeat(1, 2, 4),
        "changes": first[:, None].repeat(1, 2), "centres": first[:, None].repeat(1, 4),
        "started": first[:, None], "valid": first[:, None],
    }  # fmt: skip


def test_the_newest_take_the_place_of_the_oldest():
    buffer = ProbeBuffer(10)
    for start in range(0, 24, 4):
        buffer.add(rows(start, 4))
    drawn = buffer.draw(500, generator())
    assert set(drawn["changes"][:, 0].tolist()) == set(range(14, 24))
    for name, values in drawn.items():  # rows belong together
        flat = values.reshape(500, -1)
        assert torch.equal(flat, drawn["changes"][:, :1].expand_as(flat)), name


def test_pixels_are_held_in_bytes_until_there_are_other_numbers():
    buffer, pixels = ProbeBuffer(600), torch.arange(256)[:, None].float() / 255
    shown = {**rows(0, 256), "inputs": pixels}
    buffer.add(shown)
    assert buffer.contexts.windows.dtype == torch.uint8
    drawn = buffer.draw(400, generator())
    assert torch.equal(drawn["inputs"][:, 0], pixels[drawn["changes"][:, 0].long(), 0])
    buffer.add({**rows(256, 1), "inputs": torch.tensor([[-0.3]])})
    assert buffer.contexts.windows.dtype == torch.float32
    assert torch.equal(buffer[:256]["inputs"], pixels)
    assert buffer[256:257]["inputs"] == torch.tensor(-0.3)


def test_what_was_shown_before_is_held_once_and_given_up_with_its_last_probe():
    buffer = ProbeBuffer(6)
    for first in (0, 0, 4):  # contexts 0 and 1 twice, then 4 and 5
        buffer.add(rows(first, 2))
    assert len(buffer.contexts.held) == 4
    buffer.add(rows(8, 3))  # over both first visits, and one of the second
    found = buffer[:6]
    assert found["inputs"][:, 0].tolist() == found["changes"][:, 0].tolist() == [8, 9, 10, 1, 4, 5]
    assert len(buffer.contexts.held) == 6, "0 was given up, 1 is still probed"
    buffer.add(rows(8, 6))
    buffer.add(rows(8, 1))
    assert buffer[:6]["inputs"][:, 0].tolist() == [11, 12, 13, 8, 9, 10]
    assert len(buffer.contexts.held) == 6


@pytest.mark.parametrize("count", [4, 12])
def test_the_buffer_comes_back(count):
    buffer, again, other = ProbeBuffer(10), ProbeBuffer(10), ProbeBuffer(11)
    for start in range(0, count, 4):
        buffer.add(rows(start % 8, 4))  # the first contexts come again
    for one in (again, other):
        one.load_state_dict(buffer.state_dict())
    for one in (buffer, again):
        one.add(rows(100, 3))
    ours, theirs = (one.draw(50, generator()) for one in (buffer, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert other.count == 0


def test_windows_of_another_length_start_anew():
    buffer = ProbeBuffer(10)
    buffer.add(rows(0, 4))
    buffer.add({**rows(4, 4), "probes": torch.ones(4, 3, 4)})
    assert buffer.count == len(buffer.contexts.held) == 4


def test_a_damaged_buffer_is_refused():
    buffer = ProbeBuffer(10)
    buffer.add(rows(0, 4))
    for name, said in (("probes", "expected 4 rows"), ("contexts", "2 contexts do not fit")):
        state = dict(buffer.state_dict())
        state[name] = state[name][:2]
        with pytest.raises(RuntimeError, match=f"probe buffer: {said}"):
            ProbeBuffer(10).load_state_dict(state)


# Learning -----------------------------------------------------------------------------------------


def final(model, kind, steps=12_000):
    model.learn(steps)
    gym.register("Bowl-v0", lambda **kw: Bowl(kind), disable_env_checker=True)
    try:
        env = Bowl.vector(512, kind=kind)
        shown, _ = env.reset(seed=99)
        actions, _ = model.predict(shown, deterministic=True)
        return float(-env.step(actions)[1].mean())
    finally:
        del gym.registry["Bowl-v0"]


@pytest.mark.parametrize("credit", [{}, {"credit": "one_sided", "probes": 2}, ONE_POINT], ids=str)
def test_the_curvature_is_measured_while_learning(credit):
    model = make(replays=2, **credit)
    model.learn(6_000)
    found = model.method.learner.replay.curvature.hessian.diagonal.numpy()
    np.testing.assert_allclose(found, Bowl.CURVATURE, rtol=0.05)


def test_replays_need_fewer_env_steps():
    assert final(make(replays=4), "quadratic") < 0.5 * final(make(), "quadratic")


def test_outputs_whose_errors_add_up_are_replayed_by_a_full_hessian(monkeypatch):
    full = final(make("correlated", replays=4, **ONE_POINT), "correlated", 6_000)
    assert full < 0.4 * final(make("correlated", **ONE_POINT), "correlated", 6_000)
    monkeypatch.setattr("nodepert.agents.replay.curvature.WIDEST", 1)
    assert full < 0.4 * final(make("correlated", replays=4, **ONE_POINT), "correlated", 6_000)


def test_one_point_probes_need_half_as_many_again():
    paired, one_point = ({"replays": 4}, {"replays": 4, **ONE_POINT})
    assert final(make(**one_point), "quadratic", 6_000) < final(make(**paired), "quadratic", 9_000)


def test_wrong_curvature_would_do_harm(monkeypatch):
    """So that the tests above can't pass without it."""
    right = final(make(replays=4), "quadratic")
    monkeypatch.setattr(Curvature, "change", lambda self, probes, moved: 0 * probes[:, :, 0])
    assert final(make(replays=4), "quadratic") > 1.3 * right


@pytest.mark.parametrize("kind", ["absolute", "quantised", "noisy", "correlated"])
@pytest.mark.parametrize("changes", [{"replays": 4}, {"replays": 9, **ONE_POINT}], ids=str)
def test_replays_do_no_harm_on_odd_losses(kind, changes):
    without = final(make(kind, **{**changes, "replays": 0}), kind, 6_000)
    assert final(make(kind, **changes), kind, 6_000) < without


def test_scouts_are_a_few_pairs_with_one_seed_and_one_direction():
    paired = [scouting_groups(n, PairedProbes(1, 0.1)) for n in (2, 16, 64, 100)]
    assert paired == [(1, 2), (1, 2), (4, 2), (6, 2)]
    model = make(replays=1)
    seeds = model.method.share_seeds(list(range(32)))
    assert seeds[:6] == [0, 0, 2, 2, 4, 5]
    offsets = torch.randn(32, 2, 3, generator=generator())
    tried, shift = model.method.learner.replay.send_scouts(offsets)
    assert torch.equal(tried[[0, 2]], tried[[1, 3]])
    assert torch.equal(tried[4:], offsets[4:])
    moved = shift.norm(dim=1) > 0
    assert moved.nonzero().flatten().tolist() == [1, 3]


def test_scouts_of_one_point_probes_try_both_signs_at_both_places():
    one_point = [scouting_groups(n, OnePointProbes(1, 0.1)) for n in (2, 4, 64, 100)]
    assert one_point == [(0, 4), (1, 4), (2, 4), (3, 4)]
    model = make(replays=1, **ONE_POINT)
    assert model.method.share_seeds(list(range(32)))[:6] == [0, 0, 0, 0, 4, 5]
    offsets = torch.randn(32, 1, 3, generator=generator())
    tried, shift = model.method.learner.replay.send_scouts(offsets)
    assert torch.equal(tried[:4], offsets[[0]] * torch.tensor([1, -1, 1, -1])[:, None, None])
    assert torch.equal(tried[4:], offsets[4:])
    assert (shift.norm(dim=1) > 0).nonzero().flatten().tolist() == [2, 3]
    assert torch.equal(shift[2], shift[3])


@pytest.mark.parametrize("kind", [OnePointProbes, PairedProbes])
def test_what_scouts_find_far_off_does_not_reach_the_others(kind):
    estimator, random, dim = kind(2, 0.5), generator(), 4
    hessian = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    replay = Replay(1, 64, 16, estimator, dim, 1.0, random)
    replay.curvature.hessian.weights[1:] = hessian
    replay.moved += 1_000
    error = torch.randn(32, dim, generator=random).double()
    same = estimator.scout_signs * 2
    error[: len(same)] = error[0]
    offsets, shift = replay.send_scouts(estimator.offsets(32, dim, random).double())
    tried = shift[:, None] + offsets
    losses = 3 + (error[:, None] * tried + 0.5 * hessian * tried**2).sum(2)
    found = replay.changes(offsets, losses)
    slope = error + hessian * shift
    wanted = (estimator.probes(offsets) * slope[:, None]).sum(2)
    torch.testing.assert_close(found[: len(same)], wanted[: len(same)])
    others = slice(len(same), None)
    # Contexts differ by nothing but their errors here: what is left is the mean of e·ξ of others.
    assert (found[others] - wanted[others]).abs().max() < 1


@pytest.mark.parametrize(("kind", "differ", "expected"), [
    (PairedProbes, 0.0, (1.0, 1.0)), (PairedProbes, 100.0, (1.0, 1.0)),
    (OnePointProbes, 0.0, (0.9, 1.0)), (OnePointProbes, 2.0, (0.4, 0.6)),
    (OnePointProbes, 100.0, (0.0, 0.01)),
])  # fmt: skip
def test_reliability_falls_with_what_contexts_differ_by(kind, differ, expected):
    """Of δ = ξ·e, with one e of all contexts: its variance is ‖e‖² = 4."""
    random, dim = generator(), 4
    estimator = kind(1, 1.0)
    replay = Replay(1, 64, 16, estimator, dim, 1.0, random)
    error = torch.ones(dim, dtype=torch.float64)
    for _ in range(200):
        offsets, _ = replay.send_scouts(estimator.offsets(64, dim, random).double())
        groups, size = scouting_groups(64, estimator)
        own = differ * torch.randn(64, generator=random).double()
        own[: groups * size] = own[: groups * size : size].repeat_interleave(size)
        replay.changes(offsets, offsets @ error + own[:, None])
    assert expected[0] <= float(replay.reliability) <= expected[1] + 1e-9


def test_a_replay_counts_by_the_square_of_its_reliability():
    model = make(replays=1, **ONE_POINT)
    model.learn(1_000)
    replay, network = model.method.learner.replay, model.policy.network

    def replayed(both):
        replay.compared.copy_(torch.tensor([both, 2.0]))
        replay.generator.manual_seed(0)
        [(_, error, _)] = replay.minibatches(network)
        return error

    torch.testing.assert_close(replayed(1.0), 0.25 * replayed(2.0))


def test_replays_of_wide_predictions_stay_where_the_policy_is():
    """The loop of a policy that moves, scouts that go as far, and a batch that they disturb."""
    model = NodePerturbation(
        "MlpPolicy", "MNISTAutoencoder-v0", batch_size=32, replays=9, **ONE_POINT, seed=0,
        net_arch=(32,),
    )  # fmt: skip
    model.learn(3_200)
    assert evaluate(model, "MNISTAutoencoder-v0", {}, split="validation").value < 0.2


def test_every_step_counts_and_scouts_take_none_of_their_own():
    model = make(replays=3)
    model.learn(640)
    assert model.num_timesteps == 640
    assert model._n_updates == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replays": -1}, "replays=-1"),
        ({"replays": 1, "error_model": True}, "expected 0 together with error_model=True"),
        ({"replays": 1, "rule": "loss"}, "rule='loss'"),
        ({"replays": 1, "batch_size": 1}, "batch_size of at least 2"),
        ({"replays": 1, "batch_size": 3, "credit": "one_point"}, "batch_size of at least 4"),
        ({"batch_size": 1, "credit": "one_point"}, "at least 2 with credit='one_point'"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_credits_without_probes_have_no_replays():
    with pytest.raises(ConfigError, match="there are none with credit='score'"):
        NodePerturbation("MlpPolicy", "CartPole-v1", credit="score", replays=1)


def test_mnist_is_learned_in_fewer_env_steps():
    errors = []
    for replays in (0, 4):
        model = NodePerturbation("MlpPolicy", "MNIST-v0", seed=0, net_arch=(64,), replays=replays)
        errors.append(evaluate(model.learn(24_000), "MNIST-v0").value)
    assert errors[1] < 0.8 * errors[0]
