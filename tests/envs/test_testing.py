"""The conformance tests catch each kind of break, by the check that is named for it."""

import numpy as np
import pytest
from gymnasium import Env, spaces

from nodepert.envs import ActionError, ContractError, LossEnv, testing


class Match(LossEnv):
    """A task without a fault: say the number that is shown. Episodes last two steps."""

    def __init__(self, expose_gradient=True):
        super().__init__(expose_gradient)
        self.observation_space = spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = spaces.Box(-1, 1, (3,), np.float32)

    def sample_contexts(self, draws):
        return {"observation": draws.uniform(3).astype(np.float32)}

    def episode_length(self, context):
        return 2

    def loss(self, context, actions):
        return ((actions - context["observation"]) ** 2).sum(axis=1)

    def loss_gradient(self, context, actions):
        return 2 * (actions - context["observation"])

    def info(self, context, actions):
        return {"close": abs(actions[:, 0] - context["observation"][:, 0]) < 0.1}


class Product(Match):
    """Its loss is a matrix product, which rounds otherwise in a batch of another size."""

    def __init__(self):
        super().__init__(expose_gradient=False)
        self.matrix = np.random.default_rng(0).normal(size=(3, 40))

    def loss(self, context, actions):
        return np.square((actions - context["observation"]) @ self.matrix).sum(axis=1)


def test_a_loss_may_round_otherwise_in_batches_of_another_size():
    testing.check_loss_env(Product)


class LossOfWrongShape(Match):
    def loss(self, context, actions):
        return (actions - context["observation"]) ** 2


class NanLoss(Match):
    def loss(self, context, actions):
        return super().loss(context, actions) * np.nan


class ShownOutsideSpace(Match):
    def sample_contexts(self, draws):
        return {"observation": 2 + draws.uniform(3).astype(np.float32)}


class ShownInDouble(Match):
    def sample_contexts(self, draws):
        return {"observation": draws.uniform(3)}


class TooFewRows(Match):
    def sample_contexts(self, draws):
        return {"observation": draws.uniform(3).astype(np.float32)[:1]}


class ChangesActions(Match):
    def loss(self, context, actions):
        actions -= context["observation"]
        return (actions**2).sum(axis=1)


class ChangesContext(Match):
    def info(self, context, actions):
        context["seen"] = actions
        return {}


class NoisyLoss(Match):
    def loss(self, context, actions):
        return super().loss(context, actions) + np.random.default_rng().random(len(actions))


class OtherRandomness(Match):
    def sample_contexts(self, draws):
        return {"observation": self.np_random.random((len(draws), 3), np.float32)}


class ChangesDraws(Match):
    def sample_contexts(self, draws):
        context = super().sample_contexts(draws)
        draws.counters += np.uint64(1)
        return context


class ShowsContext(Match):
    def observe(self, context):
        return context["observation"]


class ShowsBuffer(Match):
    def observe(self, context):
        if not hasattr(self, "buffer") or len(self.buffer) != len(context["observation"]):
            self.buffer = context["observation"].copy()
        self.buffer[:] = context["observation"]
        return self.buffer


class MeanLoss(Match):
    def loss(self, context, actions):
        losses = super().loss(context, actions)
        return losses + losses.mean()


class ContextOfBatch(Match):
    def sample_contexts(self, draws):
        shown = np.full((len(draws), 3), 1 / len(draws), np.float32)
        return {"observation": shown}


class Clips(Match):
    def loss(self, context, actions):
        return super().loss(context, np.clip(actions, -1, 1))


class FlippedGradient(Match):
    def loss_gradient(self, context, actions):
        return -super().loss_gradient(context, actions)


class FlatGradient(Match):
    def loss_gradient(self, context, actions):
        return super().loss_gradient(context, actions).sum(axis=1)


class Float32Reward(Match):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, np.float32(reward), *rest


class NumpyBool(Match):
    def step(self, action):
        observation, reward, terminated, *rest = super().step(action)
        return observation, reward, np.bool_(terminated), *rest


class SameArray(Match):
    def step(self, action):
        result = super().step(action)
        self.last = getattr(self, "last", result[0])
        self.last[:] = result[0]
        return self.last, *result[1:]


class RefusesOutside(Match):
    def step(self, action):
        if not self.action_space.contains(action):
            raise ActionError("outside")
        return super().step(action)


class Unseeded(Match):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=np.random.default_rng().integers(1000).item())


class NotPicklable(Match):
    def __init__(self):
        super().__init__()
        self.function = lambda: None


class ForgetsInPickle(Match):
    def __getstate__(self):
        return {**self.__dict__, "_lanes": None}

    def step(self, action):
        if self._lanes is None:
            self.reset(seed=0)
        return super().step(action)


class StateIsShared(Match):
    def get_state(self):
        state = super().get_state()
        state["episodes"] = self._lanes.episodes
        return state


class StateForgets(Match):
    def set_state(self, state):
        super().set_state({**state, "keys": state["keys"] + np.uint64(1)})


class StateIsObject(Match):
    def get_state(self):
        return {"lanes": self._lanes}


class OddActionSpace(Match):
    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(-1, 3, (3,), np.float32)


class StartsAtOne(LossEnv):
    """Fine with Gymnasium, but Stable-Baselines3 has no Discrete that starts at 1."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2, start=1)

    def sample_contexts(self, draws):
        return {"observation": draws.uniform(1).astype(np.float32)}

    def loss(self, context, actions):
        return 1.0 * (actions == 1)


class MemoryOfActions(Match):
    """What is shown depends on the actions before: it can't be paired."""

    def loss(self, context, actions):
        self.last = actions[:, :1].astype(np.float32)
        return super().loss(context, actions)

    def observe(self, context):
        shown = super().observe(context)
        last = getattr(self, "last", shown)
        return np.clip(shown + last[: len(shown)], -1, 1) if len(last) == len(shown) else shown


class HiddenState(Match):
    """Remembers something that get_state() doesn't know of."""

    total = 0.0

    def loss(self, context, actions):
        self.total += 1.0
        return super().loss(context, actions) + self.total


class SingleDiffers(Match):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, 2 * reward, *rest


class Drawn(Match):
    """A grey picture, a row for each step played."""

    def render_frame(self, context, actions):
        frame = np.zeros((2, 4, 3), np.uint8)
        frame[: len(actions)] = 200
        return frame


class GrowingFrame(Drawn):
    def render_frame(self, context, actions):
        return np.zeros((1 + len(actions), 4, 3), np.uint8)


class FrameOfFloats(Drawn):
    def render_frame(self, context, actions):
        return np.zeros((2, 4, 3))


class DrawsItsOwn(Drawn):
    """The picture depends on which environment draws it."""

    def render_frame(self, context, actions):
        return super().render_frame(context, actions) + np.uint8(id(self) // 16 % 251)


class DrawingMoves(Drawn):
    def render_frame(self, context, actions):
        context["step"] += 1
        return np.zeros((2, 4, 3), np.uint8)


BREAKS = [
    (LossOfWrongShape, testing.check_shapes, "loss: shape"),
    (NanLoss, testing.check_shapes, "not finite"),
    (ShownOutsideSpace, testing.check_shapes, "is not in"),
    (ShownInDouble, testing.check_shapes, "float64"),
    (TooFewRows, testing.check_shapes, "rows"),
    (ChangesActions, testing.check_purity, "loss: changed its arguments"),
    (ChangesContext, testing.check_purity, "info: changed its arguments"),
    (NoisyLoss, testing.check_purity, "loss: equal arguments gave different"),
    (OtherRandomness, testing.check_purity, "equal draws gave different contexts"),
    (ChangesDraws, testing.check_purity, "changed the keys or counters"),
    (ShowsContext, testing.check_purity, "shares memory with the context"),
    (ShowsBuffer, testing.check_purity, "two calls share memory"),
    (ShowsBuffer, testing.check_vector_memory, "changed later"),
    (MeanLoss, testing.check_lane_independence, "loss: a lane depends on other lanes"),
    (ContextOfBatch, testing.check_lane_independence, "sample_contexts: a lane depends"),
    (Clips, testing.check_not_clipped, "clips"),
    (FlippedGradient, testing.check_gradient, "finite differences"),
    (FlatGradient, testing.check_gradient, "loss_gradient: shape"),
    (Float32Reward, testing.check_types, "reward is a float32"),
    (NumpyBool, testing.check_types, "terminated is a bool"),
    (SameArray, testing.check_shared_memory, "share memory"),
    (RefusesOutside, testing.check_out_of_box, "refused the finite action"),
    (Unseeded, testing.check_determinism, "gave something else"),
    (ForgetsInPickle, testing.check_pickle, "goes on differently"),
    (StateIsShared, testing.check_state, "the state changed"),
    (StateForgets, testing.check_state, "the future differs"),
    (StateIsObject, testing.check_state, "dict of arrays"),
    (OddActionSpace, testing.check_gymnasium, "Gymnasium's check_env"),
    (StartsAtOne, testing.check_sb3, "SB3's check_env"),
    (MemoryOfActions, testing.check_pairing, "depend on the actions"),
    (HiddenState, testing.check_vector_state, "the future differs"),
    (SingleDiffers, testing.check_autoreset, "rewards differ"),
    (GrowingFrame, testing.check_frames, "several sizes"),
    (FrameOfFloats, testing.check_frames, "float64"),
    (DrawsItsOwn, testing.check_frames, "not that of the single environment"),
    (DrawingMoves, testing.check_frames, "drawing changed what followed"),
]


def test_the_whole_one_passes():
    testing.check_loss_env(Match)
    testing.check_loss_env(Drawn)


@pytest.mark.parametrize(("broken", "check", "message"), BREAKS)
def test_break_is_caught_and_named(broken, check, message):
    check(Match)
    with pytest.raises(ContractError, match=f"{broken.__name__}.*{message}"):
        check(broken)
    with pytest.raises(ContractError, match=broken.__name__):
        testing.check_loss_env(broken)


def test_not_picklable():
    with pytest.raises(ContractError, match="NotPicklable: can't be pickled"):
        testing.check_pickle(NotPicklable)


def test_something_else_than_a_loss_env():
    with pytest.raises(ContractError, match="expected a LossEnv"):
        testing.check_loss_env(Env)


def test_all_checks_are_public():
    assert {name for name in vars(testing) if name.startswith("check_")} == set(testing.__all__)
