"""The native vector environment: seeds, pairing, autoreset, agreement with Gymnasium's own."""

import json
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics

from nodepert.envs import MNIST, ActionError, ConfigError, DelayedXOR, LossEnv, LossVectorEnv
from nodepert.envs.checks.batch import same
from nodepert.envs.checks.vector import play

RNG = np.random.default_rng(0)
ALL_MODES = pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)


def actions(lanes):
    return RNG.uniform(-1, 1, (lanes, 1)).astype(np.float32)


class TestPairing:
    @pytest.mark.parametrize(
        ("steps", "kwargs"),
        [
            (100_000, {"delay": (0, 6)}),
            (5000, {"stream": True, "max_episode_steps": 50}),
            (5000, {"stream": True, "delay": (1, 5), "max_episode_steps": 50}),
        ],
        ids=str,
    )
    def test_paired_lanes_stay_in_step(self, steps, kwargs):
        vector = DelayedXOR.vector(4, **kwargs)
        vector.reset(seed=[5, 6, 5, 5])
        table = RNG.uniform(-1, 1, (1000, 4, 1))
        apart = 0
        for step in range(steps):
            shown, _, terminated, truncated, _ = vector.step(table[step % 1000])
            for rows in (shown, terminated, truncated):
                assert (rows[2:] == rows[0]).all()
            apart += not np.array_equal(shown[0], shown[1])
        assert apart > steps / 20

    def test_pairs_see_the_same_images(self):
        vector = MNIST.vector(6)
        vector.reset(seed=[1, 2, 3, 1, 2, 3])
        for _ in range(200):
            shown = vector.step(RNG.uniform(-1, 1, (6, 10)))[0]
            np.testing.assert_array_equal(shown[:3], shown[3:])

    def test_no_two_lanes_of_different_seeds_are_identical(self):
        vector = MNIST.vector(500, split="test")
        vector.reset(seed=0)
        seen = []
        for _ in range(6):
            seen.append(vector._lanes._context["example"].copy())
            vector.step(np.zeros((500, 10)))
        assert len(np.unique(seen, axis=1).T) == 500

    def test_a_lane_does_not_depend_on_where_it_is_or_on_the_others(self):
        small, large = DelayedXOR.vector(1, delay=(0, 6)), DelayedXOR.vector(9, delay=(0, 6))
        small.reset(seed=[44])
        large.reset(seed=[*range(8), 44])
        for _ in range(200):
            action = actions(9)
            one, many = small.step(action[8:]), large.step(action)
            for alone, among in zip(one[:4], many[:4], strict=True):
                np.testing.assert_array_equal(alone[0], among[8])


class TestSeeds:
    def test_an_int_seeds_lane_i_with_seed_plus_i(self):
        one, other = MNIST.vector(3), MNIST.vector(3)
        np.testing.assert_array_equal(one.reset(seed=4)[0], other.reset(seed=[4, 5, 6])[0])

    @pytest.mark.parametrize("seed", [np.int64(4), np.array([4, 5, 6]), (4, 5, 6)], ids=repr)
    def test_numpy_seeds(self, seed):
        one, other = MNIST.vector(3), MNIST.vector(3)
        np.testing.assert_array_equal(one.reset(seed=4)[0], other.reset(seed=seed)[0])

    def test_none_in_a_list_keeps_a_lane_going(self):
        vector, twin = MNIST.vector(3), MNIST.vector(3)
        vector.reset(seed=4)
        twin.reset(seed=4)
        shown, expected = vector.reset(seed=[None, 9, None])[0], twin.reset()[0]
        np.testing.assert_array_equal(shown[[0, 2]], expected[[0, 2]])
        np.testing.assert_array_equal(shown[1], MNIST().reset(seed=9)[0])

    def test_unseeded_vectors_differ(self):
        assert not np.array_equal(MNIST.vector(2).reset()[0], MNIST.vector(2).reset()[0])

    def test_wrong_number_of_seeds(self):
        with pytest.raises(ConfigError, match="seed has 2 entries, expected num_envs=3"):
            MNIST.vector(3).reset(seed=[1, 2])


class TestAutoreset:
    @ALL_MODES
    @pytest.mark.parametrize("limit", [3, 5, 7])
    def test_agrees_with_async_vector_env(self, mode, limit):
        make = partial(TimeLimit, DelayedXOR(delay=(0, 4), expose_gradient=True), limit)
        workers = AsyncVectorEnv([make] * 3, autoreset_mode=mode)
        native = DelayedXOR.vector(
            3, delay=(0, 4), expose_gradient=True, max_episode_steps=limit, autoreset_mode=mode
        )
        try:
            found, expected = list(play(native, [4, 2, 8])), list(play(workers, [4, 2, 8]))
        finally:
            workers.close()
        assert same(found, expected)
        assert any(step[3].any() for step in found)
        assert any(step[2].any() for step in found)

    @ALL_MODES
    def test_mode_is_declared(self, mode):
        for given in (mode, mode.value):
            vector = DelayedXOR.vector(2, autoreset_mode=given)
            assert vector.metadata["autoreset_mode"] is mode

    @pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
    def test_gymnasiums_wrappers(self, mode):
        """As around SyncVectorEnv; Gymnasium 1.1 counts a step less in SAME_STEP."""
        native = DelayedXOR.vector(4, autoreset_mode=mode)
        queues = []
        for lanes in (native, SyncVectorEnv([DelayedXOR] * 4, autoreset_mode=mode)):
            vector = RecordEpisodeStatistics(lanes)
            vector.reset(seed=0)
            for _ in range(40):
                vector.step(np.zeros((4, 1), np.float32))
            queues.append((list(vector.length_queue), list(vector.return_queue)))
        assert queues[0] == queues[1]
        assert queues[0][0][:4] == [7] * 4
        assert set(queues[0][1]) == {-0.5}

    def test_normalize_observation(self):
        vector = NormalizeObservation(DelayedXOR.vector(50, autoreset_mode=AutoresetMode.NEXT_STEP))
        vector.reset(seed=0)
        shown = np.array([vector.step(np.zeros((50, 1)))[0] for _ in range(200)])
        np.testing.assert_allclose(shown.mean(axis=(0, 1)), 0, atol=0.1)

    def test_next_step_ignores_the_action_of_a_reset_and_gives_no_info(self):
        vector = DelayedXOR.vector(2, delay=0, autoreset_mode=AutoresetMode.NEXT_STEP)
        vector.reset(seed=0)
        for _ in range(3):
            _, _, terminated, _, infos = vector.step(np.ones((2, 1)))
        assert terminated.all()
        assert infos["_correct"].all()
        shown, rewards, terminated, truncated, infos = vector.step(np.ones((2, 1)))
        assert not rewards.any()
        assert not (terminated | truncated).any()
        assert infos == {}
        assert (shown[:, 1] != 0).all()

    def test_disabled_needs_resets_by_mask(self):
        vector = DelayedXOR.vector(3, delay=0, autoreset_mode=AutoresetMode.DISABLED)
        vector.reset(seed=0)
        vector.step(np.zeros((3, 1)))
        vector.reset(options={"reset_mask": np.array([False, True, False])})
        vector.step(np.zeros((3, 1)))
        done = vector.step(np.zeros((3, 1)))[2]
        assert done.tolist() == [True, False, True]
        with pytest.raises(gym.error.ResetNeeded, match="lane 0"):
            vector.step(np.zeros((3, 1)))
        shown, _ = vector.reset(options={"reset_mask": done})
        assert (shown[done, 1] != 0).all()
        assert vector.step(np.zeros((3, 1)))[2].tolist() == [False, True, False]

    def test_same_step_holds_the_final_observation(self):
        vector = DelayedXOR.vector(2, stream=True, max_episode_steps=4)
        twin = DelayedXOR.vector(2, stream=True)
        vector.reset(seed=0)
        twin.reset(seed=0)
        for _ in range(4):
            expected = twin.step(np.zeros((2, 1)))[0]
            _, _, _, truncated, infos = vector.step(np.zeros((2, 1)))
        assert truncated.all()
        np.testing.assert_array_equal(infos["final_obs"], expected)

    @pytest.mark.parametrize(
        "mask", [[True], np.zeros(3, bool), np.ones(3), np.ones(4, bool)], ids=str
    )
    def test_wrong_masks(self, mask):
        vector = DelayedXOR.vector(3)
        vector.reset(seed=0)
        with pytest.raises(ConfigError, match="reset_mask"):
            vector.reset(options={"reset_mask": mask})

    def test_first_reset_must_be_of_all_lanes(self):
        with pytest.raises(gym.error.ResetNeeded, match="all lanes"):
            DelayedXOR.vector(2).reset(options={"reset_mask": np.array([True, False])})


class Table(LossEnv):
    """A task that looks up a table by step, returns its own arrays, and is asked nothing else."""

    def __init__(self):
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.shown = np.full((3, 1), 0.5, np.float32)

    def sample_contexts(self, draws):
        lengths = 1 + draws.integers(3)
        shown = self.shown if len(draws) == 3 else np.zeros((len(draws), 1), np.float32)
        return {"observation": shown, "length": lengths}

    def episode_length(self, context):
        return context["length"]

    def loss(self, context, actions):
        assert (context["step"] < context["length"]).all()
        return np.arange(3.0)[context["step"]]

    def info(self, context, actions):
        return {"length": context["length"]}


@ALL_MODES
def test_a_task_is_never_asked_for_a_step_after_its_last_and_its_arrays_are_left_alone(mode):
    vector = LossVectorEnv(Table(), 3, autoreset_mode=mode)
    steps = list(play(vector, [1, 2, 3], copy=False))
    assert any(step[2].any() for step in steps)
    assert (vector.env.shown == 0.5).all()
    assert same(steps, list(play(LossVectorEnv(Table(), 3, autoreset_mode=mode), [1, 2, 3])))


class TestState:
    def test_json_round_trip(self):
        vector, twin = (DelayedXOR.vector(5, delay=(0, 4)) for _ in range(2))
        vector.reset(seed=0)
        for _ in range(11):
            vector.step(np.zeros((5, 1)))
        state = {name: values.tolist() for name, values in vector.get_state().items()}
        twin.set_state(json.loads(json.dumps(state)))
        for _ in range(50):
            action = actions(5)
            assert same(vector.step(action), twin.step(action))
        assert same(vector.reset(), twin.reset())

    def test_before_the_first_reset_there_is_none(self):
        with pytest.raises(gym.error.ResetNeeded):
            MNIST.vector(2).get_state()

    def test_state_is_a_copy(self):
        vector = DelayedXOR.vector(2)
        vector.reset(seed=0)
        state = vector.get_state()
        before = {name: values.copy() for name, values in state.items()}
        vector.step(np.zeros((2, 1)))
        assert same(state, before)


class TestErrors:
    @pytest.mark.parametrize(
        "kwargs",
        [
            {"num_envs": 0},
            {"num_envs": 1.5},
            {"max_episode_steps": 0},
            {"autoreset_mode": "sometimes"},
        ],
        ids=str,
    )
    def test_wrong_arguments(self, kwargs):
        with pytest.raises(ConfigError, match=next(iter(kwargs))):
            DelayedXOR.vector(**kwargs)

    def test_step_before_reset(self):
        with pytest.raises(gym.error.ResetNeeded):
            DelayedXOR.vector(2).step(np.zeros((2, 1)))

    @pytest.mark.parametrize("shape", [(2,), (3, 1), (2, 2), ()], ids=str)
    def test_wrong_shape(self, shape):
        vector = DelayedXOR.vector(2)
        vector.reset(seed=0)
        with pytest.raises(ActionError, match=r"expected \(2, 1\)"):
            vector.step(np.zeros(shape))

    def test_not_finite(self):
        vector = DelayedXOR.vector(3)
        vector.reset(seed=0)
        with pytest.raises(ActionError, match="lane 1 is not finite"):
            vector.step(np.array([[0], [np.inf], [0]]))

    def test_not_a_class(self):
        vector = DelayedXOR.vector(3, discrete=True)
        vector.reset(seed=0)
        with pytest.raises(ActionError, match="action 2 in lane 2"):
            vector.step(np.array([0, 1, 2]))
