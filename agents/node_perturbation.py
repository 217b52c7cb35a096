"""The agent, behaving as a Stable-Baselines3 algorithm."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import get_system_info, safe_mean
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from nodepert.agents.bookkeeping.episodes import Episodes
from nodepert.agents.bookkeeping.logs import Logs
from nodepert.agents.config import Config, Credit, learning_rate_schedule, with_changes
from nodepert.agents.errors import ConfigError
from nodepert.agents.factory import lanes_per_context
from nodepert.agents.feedback import RULES
from nodepert.agents.files.model_file import (
    Moment,
    capture,
    check_document,
    config_from_json,
    own_place,
    restore,
    running_statistics,
    to_parts,
)
from nodepert.agents.files.saving import FilePath, read_archive, space_from_json, write_archive
from nodepert.agents.files.shapes import check_policy
from nodepert.agents.lanes.handover import EnvLike, action_map, check_spaces, identity, vectorise
from nodepert.agents.lanes.observations import check_readable
from nodepert.agents.lanes.pairing import can_be_paired
from nodepert.agents.lanes.resting import RestingLane
from nodepert.agents.lanes.rollout import PairedLanes, Played
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.lanes.vec_env import SB3VecEnv
from nodepert.agents.methods import METHODS, Method, Probing
from nodepert.agents.policies import CnnPolicy, FeedbackPolicy, MlpPolicy, RnnPolicy
from nodepert.envs import LossVectorEnv

__all__ = ["NodePerturbation"]

Self = TypeVar("Self", bound="NodePerturbation")


class NodePerturbation(BaseAlgorithm):
    """Learns from scalar rewards by node perturbation and learned feedback.

    The error at the output comes from the rewards of different actions: on several lanes that show
    one context, or, in environments with dynamics, from noisy actions and a critic (``credit``).
    Feedback weights carry it to every layer (arXiv 1906.00889, with the output error estimated
    too). ``num_timesteps`` counts every lane's step, probes included.

    Args:
        policy: ``"MlpPolicy"`` (or ``"MultiInputPolicy"``, the same), ``"RnnPolicy"``,
            ``"CnnPolicy"``, or a subclass of :class:`~nodepert.agents.policies.FeedbackPolicy`.
        env: An id, a ``gymnasium.Env``, a ``gymnasium.vector.VectorEnv``, a Stable-Baselines3
            ``VecEnv``, or a function that makes one. None for a model that only predicts.
        config: Hyperparameters; the defaults where None.
        policy_kwargs: Options of the policy: ``net_arch`` and ``activation_fn``, as in
            Stable-Baselines3, ``features_extractor_class`` and ``features_extractor_kwargs`` (its
            weights are frozen), ``init_gain``, and those of the policy's class, such as ``cell``.
        stats_window_size: Over how many steps to average the logged rewards.
        tensorboard_log: Folder of the TensorBoard log.
        verbose: 0 for no output, 1 for info messages.
        seed: Of everything random here; no global seed is touched.
        device: Where the network is.
        hyperparameters: Fields of :class:`~nodepert.agents.Config`, such as
            ``learning_rate=2e-3``; they win over ``config``.

    Raises:
        ConfigError: A hyperparameter or an environment that is not valid.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "RnnPolicy": RnnPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MlpPolicy,  # as Stable-Baselines3 calls it where observations are dicts
    }
    policy: FeedbackPolicy
    leads = True
    """Whether this process writes and reports; of those that share a run, only the first does."""
    optimizer: torch.optim.Optimizer
    feedback_optimizer: torch.optim.Optimizer | None = None

    def __init__(
        self,
        policy: str | type[FeedbackPolicy],
        env: EnvLike | None,
        config: Config | None = None,
        *,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        **hyperparameters: Any,
    ) -> None:
        self.config = with_changes(config or Config(), hyperparameters)
        check_seed(seed)
        super().__init__(
            policy,
            None,
            self.config.learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            support_multi_env=True,
        )
        self.generator = torch.Generator(self.device)
        self._seed_generator()
        self.action_scale: float | None = None
        self.trained_on: tuple[str, dict[str, Any]] | None = None
        """Id and arguments of the environment, where it has them."""
        self._vector_env: VectorEnv[Any, Any, Any] | None = None
        self._lanes: PairedLanes | None = None
        self._situation: Situation | None = None
        self._context_seeds: list[int] | None = None
        self._moment: Moment | None = None
        self.logs = Logs(stats_window_size)
        if env is not None:
            if self.config.credit == "auto":
                credit: Credit = "paired" if can_be_paired(env) else "score"
                self.config = replace(self.config, credit=credit)
            self._attach(env, self._vectorise(env))
        if env is not None and _init_setup_model:
            self._setup_model()

    # Set-up ----------------------------------------------------------------------------------

    def _seed_generator(self) -> None:
        if self.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.seed)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            valid = ", ".join(self.policy_aliases)
            raise ConfigError(f"policy={policy_name!r}: expected one of {valid}")
        return self.policy_aliases[policy_name]

    @property
    def lanes_per_context(self) -> int:
        """M, how many lanes show each context: the env steps that one context costs."""
        return lanes_per_context(self.config)

    def _vectorise(self, env: EnvLike) -> VectorEnv[Any, Any, Any]:
        """Makes lanes of ``env``, in a number that fits."""
        per_context = self.lanes_per_context
        method = METHODS[self.config.credit]
        wrapper = RestingLane if method.whole_episodes else None
        # Probes never ask for an image again; what keeps images keeps them on the CPU.
        apart = self.device.type != "cpu" and issubclass(method, Probing)
        vector_env = vectorise(
            env,
            self._contexts_to_make() * per_context,
            wrapper,
            device=self.device if apart else None,
        )
        if vector_env.num_envs % per_context:
            raise ConfigError(
                f"env has {vector_env.num_envs} lanes: expected a multiple of {per_context}, since "
                f"credit={self.config.credit!r}, probes={self.config.probes} and "
                f"rule={self.config.rule!r} show each context on {per_context} lanes"
            )
        base = vector_env.unwrapped
        silent = isinstance(base, LossVectorEnv) and not base.env.expose_gradient
        if self.config.credit == "given" and silent:
            raise ConfigError(
                "credit='given': env gives no gradient; expected one made with expose_gradient=True"
            )
        return vector_env

    def _contexts_to_make(self) -> int:
        """How many contexts a single environment is to show at once."""
        shows_contexts = METHODS[self.config.credit].shows_contexts
        return self.config.batch_size if shows_contexts else self.config.n_envs

    def _attach(self, env: EnvLike, vector_env: VectorEnv[Any, Any, Any]) -> None:
        """Takes the lanes made of ``env``, and their spaces."""
        check_readable(vector_env.single_observation_space)
        self._vector_env = vector_env
        self._lanes = PairedLanes(vector_env, self.lanes_per_context)
        self._situation = None
        self._episodes = Episodes(self._lanes.contexts)
        self.trained_on = identity(vector_env)
        self.env = env if isinstance(env, VecEnv) else SB3VecEnv(vector_env)
        self._vec_normalize_env = unwrap_vec_normalize(self.env)
        self.n_envs = vector_env.num_envs
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        self.action_scale = action_map(vector_env).action_scale

    def _setup_model(self) -> None:
        """Creates policy, optimisers and method."""
        self._setup_lr_schedule()
        self.policy = self._make_policy().to(self.device)
        self.method: Method[Any] = METHODS[self.config.credit](
            self._without_double_scaling(), self.policy, self.lr_schedule(1.0), self.generator
        )
        self.memory = self.method.memory
        self.running_statistics = running_statistics(policy=self.policy, memory=self.memory)
        for name, optimizer in self.method.optimizers.items():
            setattr(self, name, optimizer)

    def _make_policy(self) -> FeedbackPolicy:
        """The policy with its initial weights, on the CPU."""
        config = self.config
        method = METHODS[config.credit]
        self.policy_class.check_options(self.policy_kwargs)  # type: ignore[attr-defined]
        options: dict[str, Any] = {"net_arch": config.net_arch, "activation": config.activation}
        if method.init_gain is not None:
            options["init_gain"] = method.init_gain
        return self.policy_class(  # type: ignore[return-value]
            self.observation_space,
            self.action_space,
            action_scale=self.action_scale,
            path=RULES[config.rule].path,
            critic=method.has_critic,
            normalize_observation=self._normalizes_observation(),
            # Initial weights are drawn on the CPU, so that a seed gives the same on any device.
            generator=torch.Generator("cpu").manual_seed(self.generator.initial_seed()),
            **{**options, **self.policy_kwargs},
        )

    def _normalizes_observation(self) -> bool:
        """Whether the policy keeps statistics of observations, as far as they are numbers."""
        if self.config.normalize_observation is not None:
            return self.config.normalize_observation
        by_default = METHODS[self.config.credit].normalizes_observation
        return by_default and self._vec_normalize_env is None

    def _without_double_scaling(self) -> Config:
        """The config, without what a VecNormalize does already."""
        wrapped = self._vec_normalize_env is not None and self._vec_normalize_env.norm_reward
        return replace(self.config, normalize_reward=self.config.normalize_reward and not wrapped)

    def _setup_lr_schedule(self) -> None:
        self.lr_schedule = learning_rate_schedule(self.config)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds this agent's own random numbers and its environment; no global seed is touched."""
        if seed is None:
            return
        check_seed(seed)
        self.seed = seed
        self._seed_generator()
        self.action_space.seed(seed)
        self._context_seeds = None
        self._situation = None

    def set_env(self, env: EnvLike, force_reset: bool = True) -> None:
        """Goes on with another environment of the same spaces.

        Args:
            env: See the constructor. A single one gets as many lanes as the batch size asks for.
            force_reset: Start new episodes before training. Only those of the environment that the
                model has already can go on.

        Raises:
            ConfigError: Its spaces are not the model's, or its episodes can't go on.
        """
        if not force_reset:
            if env is not self.env and env is not self._vector_env:
                raise ConfigError(
                    f"force_reset=False: env {env} is another one than the model has, so that no "
                    "episode can go on in it; expected force_reset=True"
                )
            return
        vector_env = self._vectorise(env)
        check_spaces(vector_env, self.observation_space, self.action_space)
        self._attach(env, vector_env)
        self.action_scale = self.policy.actions.action_scale  # predictions keep their meaning
        self._context_seeds = None

    # Learning --------------------------------------------------------------------------------

    def learn(
        self: Self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = -1,
        tb_log_name: str = "NodePerturbation",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Trains for at least ``total_timesteps`` env steps, every lane's step counted.

        Args:
            total_timesteps: How many.
            callback: Called after each step of all lanes.
            log_interval: Log every so many updates, None for never. Default: 100 with probes, whose
                updates are small, else 1.
            tb_log_name: Name of the run in TensorBoard.
            reset_num_timesteps: Start counting, and the schedules, from zero.
            progress_bar: Show one.

        Returns:
            This model.

        Raises:
            ConfigError: There is no environment.
            PairingError: Lanes of one context do not stay in step.
            LaneError: The environment failed in a lane. The model is as it was before the last
                ``n_steps`` steps; ``save`` keeps it.
            NonFiniteError: A prediction is NaN or infinite.
        """
        if self._lanes is None:
            raise ConfigError("env=None: expected an environment; call set_env first")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if self.method.starts_after >= total_timesteps:
            warnings.warn(
                f"learning_starts={self.method.starts_after}: nothing is learned in a run that "
                f"ends after {total_timesteps} env steps; expected fewer",
                stacklevel=2,
            )
        if log_interval == -1:
            log_interval = self.method.default_log_interval
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps:
            batch = self._collect(callback)
            if batch is None:
                break
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self._update_learning_rate(self.method.forward_optimizers)
            self._learn_from(batch)
            self._moment = None
            if log_interval and self._n_updates % log_interval == 0:
                self.dump_logs()
        callback.on_training_end()
        return self

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        self._moment = None
        if self._situation is not None:
            self._last_obs = self._situation.observation
        result = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if reset_num_timesteps:
            self.logs.clear()
        # A run that goes on is as far as it was; noise and step sizes follow from that.
        self._update_current_progress_remaining(self.num_timesteps, result[0])
        self.logs.hand_over(self.logger)
        if self._situation is None or reset_num_timesteps:
            self._reset_lanes()
        return result

    def start_new_episodes(self) -> None:
        """Ends all episodes and starts new ones, whose seeds follow from the updates done so far.

        Between two updates only. A run that is saved here and resumed with ``force_reset=True``
        starts the same episodes, in environments whose ``reset(seed=...)`` fixes all that follows.
        """
        self._context_seeds = None
        self._reset_lanes()
        self._moment = capture(self)

    def _reset_lanes(self) -> None:
        """New episodes in all lanes; seeded the first time, so that lanes are paired."""
        assert self._lanes is not None
        contexts = self._lanes.contexts
        fresh = self._context_seeds is None
        if fresh:
            self._context_seeds = self.method.share_seeds(self._draw_seeds(contexts))
        observation = self._lanes.reset(self._context_seeds if fresh else None)
        self._situation = Situation(
            observation=observation,
            state=self.policy.network.initial_state(contexts),
            started=torch.ones(contexts, dtype=torch.bool, device=self.device),
        )
        self.method.begin(self._situation)
        self._episodes = Episodes(contexts)

    def _draw_seeds(self, contexts: int) -> list[int]:
        """A seed for each context."""
        # A run that goes on with new episodes is not shown its first contexts again.
        entropy = np.random.SeedSequence(self.seed, spawn_key=(self._n_updates,))
        return [int(word) for word in entropy.generate_state(contexts)]

    def _collect(self, callback: BaseCallback) -> Any:
        """What the next update learns from, with the callback called after each step."""
        lanes = self._lanes
        assert lanes is not None
        assert self._situation is not None
        if not self.policy.training:  # a callback may have used the policy
            self.policy.set_training_mode(True)
        self.policy.network.forget_calls()  # of a window that was interrupted
        if self.method.whole_episodes:  # also after a run that was stopped in the middle of some
            self._episodes = Episodes(lanes.contexts)
        self._moment = capture(self)
        callback.on_rollout_start()

        def on_step(played: Played) -> bool:
            self.num_timesteps += played.env_steps
            self._count_episodes(played)
            ended = np.repeat(played.ended, lanes.lanes_per_context)
            rewards = -played.losses.ravel()
            callback.update_locals({"played": played, "rewards": rewards, "dones": ended})
            return callback.on_step()

        batch = self.method.collect(
            lanes, self._situation, self._current_progress_remaining, on_step
        )
        callback.on_rollout_end()
        return batch

    def _count_episodes(self, played: Played) -> None:
        """Keeps what :meth:`dump_logs` averages."""
        assert self.ep_info_buffer is not None
        ended = self._episodes.count(played)
        if ended is not None:
            self._episode_num += int(played.ended.sum())
            elapsed = (time.time_ns() - self.start_time) / 1e9
            self.ep_info_buffer.append({**ended, "t": elapsed})

    def _learn_from(self, batch: Any) -> None:
        """One update, and what is logged of it."""
        self._n_updates += 1
        every = self.config.alignment_interval
        due = every > 0 and (self._n_updates - 1) % every == 0
        found = self.method.learn_from(batch, self._n_updates, due)
        if "train/loss" in found:
            self.logs.add_loss(found.pop("train/loss"))
        for name, value in found.items():
            self.logger.record(name, value)

    def dump_logs(self) -> None:
        """Writes what was recorded to the logger."""
        elapsed = max((time.time_ns() - self.start_time) / 1e9, 1e-9)
        steps = self.num_timesteps - self._num_timesteps_at_start
        record = self.logger.record
        if self.ep_info_buffer:
            record("rollout/ep_rew_mean", safe_mean([one["r"] for one in self.ep_info_buffer]))
            record("rollout/ep_len_mean", safe_mean([one["l"] for one in self.ep_info_buffer]))
        record("time/fps", int(steps / elapsed))
        record("time/time_elapsed", int(elapsed), exclude="tensorboard")
        record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        record("train/loss", self.logs.take_mean_loss())
        self.logger.dump(step=self.num_timesteps)

    # Files -----------------------------------------------------------------------------------

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Those of the forward and of the feedback weights, by the name of their attribute."""
        return self.method.optimizers

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        memory = ["memory"] if self.memory.state_dict() else []
        return ["policy", *self.optimizers, *memory], []

    def save(
        self,
        path: FilePath,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Writes the model to a zip of JSON and safetensors, the whole of it or nothing.

        It holds all that the run's future depends on; see :meth:`load`. Called from a callback, or
        after one has stopped the run, it saves the run as it was before the window of ``n_steps``
        steps that is not learned from yet.

        Args:
            path: Where to; ".zip" is added to a name without a suffix.
            exclude: Not used: nothing is pickled, so nothing needs to be left out.
            include: Not used.
        """
        write_archive(path, *to_parts(self))

    def save_run(self, path: FilePath) -> None:
        """Writes what a run goes on from: :meth:`save`, with the lanes of all who share the run.

        Args:
            path: As for :meth:`save`. Where processes share a run, all call this at once.
        """
        self.save(path)

    def anywhere(self, flag: bool) -> bool:
        """Whether something is so in any of the processes that share the run; all ask at once."""
        return flag

    @classmethod
    def load(
        cls: type[Self],
        path: FilePath,
        env: EnvLike | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Reads a model. No code from the file is run: a file from a stranger is safe to load.

        To go on with a run bit for bit, give the same kind of environment (one with ``get_state``)
        and ``force_reset=False``, then ``learn(..., reset_num_timesteps=False)``.

        Args:
            path: What :meth:`save` wrote.
            env: For more training; a model without one predicts.
            device: Where the network is to be.
            custom_objects: ``{"policy_class": cls}`` for a policy class of your own,
                ``{"features_extractor_class": cls}`` for an extractor of your own, and any other
                option of the policy that a file can't hold.
            print_system_info: Print versions.
            force_reset: Start new episodes before training.
            kwargs: ``seed``, ``verbose``, ``tensorboard_log``, or hyperparameters to change.

        Returns:
            The model.

        Raises:
            FileFormatError: Not a model file, or a damaged one.
            ConfigError: Spaces or lanes of ``env`` do not fit, or a bad hyperparameter.
        """
        if print_system_info:
            get_system_info()
        document, tensors = read_archive(path, "cpu")
        check_document(document, path)
        own = {k: kwargs.pop(k) for k in ("seed", "verbose", "tensorboard_log") if k in kwargs}
        custom = custom_objects or {}
        policy = custom.get("policy_class", document["policy"])
        if isinstance(policy, str) and policy not in cls.policy_aliases:
            raise ConfigError(
                f"policy {policy!r} is a class of your own, and no code is imported because a file "
                'names it: pass it, load(..., custom_objects={"policy_class": YourPolicy})'
            )
        names = cls.policy_aliases.get(policy, policy).option_names()
        given = {name: custom[name] for name in names if name in custom}
        model = cls(
            policy,
            env,
            config_from_json(document["config"], kwargs),
            policy_kwargs={**document["policy_kwargs"], **given},
            device=device,
            _init_setup_model=False,
            **{"seed": document["seed"], **own},
        )
        spaces = tuple(space_from_json(document[k]) for k in ("observation_space", "action_space"))
        if model._vector_env is not None:
            check_spaces(model._vector_env, *spaces)
        model.observation_space, model.action_space = spaces
        model.action_scale = document["action_scale"]
        if env is None and document["trained_on"] is not None:
            model.trained_on = tuple(document["trained_on"])
        check_policy(model, tensors)
        model._setup_model()
        if not force_reset:
            document, tensors = model._own_part(document, tensors)
        restore(model, document, {k: v.to(model.device) for k, v in tensors.items()}, force_reset)
        return model

    def _own_part(
        self, document: dict[str, Any], tensors: dict[str, torch.Tensor]
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Of a file, what this process goes on from.

        Raises:
            ConfigError: It is of a run that processes share.
        """
        return document, own_place(document, tensors, rank=0, processes=1)

    def set_parameters(
        self,
        load_path_or_dict: FilePath | dict[str, Any],
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Takes parameters from a model file or from ``get_parameters()``.

        Args:
            load_path_or_dict: Either.
            exact_match: Raise where names are missing or left over.
            device: Not used: the model stays where it is.
        """
        if not isinstance(load_path_or_dict, dict):
            saved = self.load(
                load_path_or_dict,
                device=self.device,
                custom_objects={
                    "policy_class": self.policy_class,
                    "features_extractor_class": self.policy.features_extractor_class,
                    "features_extractor_kwargs": self.policy.features_extractor_kwargs,
                },
                learning_rate=self.config.learning_rate,
                feedback_learning_rate=self.config.feedback_learning_rate,
            )
            load_path_or_dict = dict(saved.get_parameters())
        # A copy, since torch's optimisers keep the tensors that they are given.
        super().set_parameters(copy.deepcopy(load_path_or_dict), exact_match, device)


def check_seed(seed: Any) -> None:
    """Raises ConfigError where a seed is neither None nor a 63-bit integer."""
    numeric = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if seed is None or (numeric and 0 <= seed < 2**63):
        return
    raise ConfigError(f"seed={seed!r}: expected None or an integer from 0 to 2**63 - 1")
