"""Training as ``nodepert train`` does it: nothing that was learned is lost, however it ends."""

from __future__ import annotations

import sys

from stable_baselines3.common.callbacks import BaseCallback, ProgressBarCallback
from stable_baselines3.common.logger import KVWriter, Logger

from nodepert.agents.bookkeeping.divergence import DivergenceGuard, roll_back
from nodepert.agents.cli.evaluations import Evaluations
from nodepert.agents.cli.processes import are_several
from nodepert.agents.cli.progress import ProgressFile, TensorBoardFile
from nodepert.agents.cli.run_folder import RunFolder
from nodepert.agents.cli.stopping import StopOnSignal
from nodepert.agents.cli.train_arguments import TrainArguments
from nodepert.agents.errors import CheckpointError, LaneError, NonFiniteError, RunError
from nodepert.agents.files.checkpoints import Checkpoints, newest_checkpoint
from nodepert.agents.files.model_file import is_exact
from nodepert.agents.node_perturbation import NodePerturbation

__all__ = ["follow", "learn"]

MOST_ROLLBACKS = 5


class Progress(ProgressBarCallback):
    """A bar of env steps, of all processes where there are several."""

    def _on_step(self) -> bool:
        self.pbar.update(self.num_timesteps - self._began - self.pbar.n)
        return True

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self._began = self.num_timesteps


def learn(
    model: NodePerturbation,
    arguments: TrainArguments,
    folder: RunFolder,
    evaluations: Evaluations,
    progress: ProgressFile,
) -> None:
    """Trains. Where that fails, what was written stays, unless nothing was learned yet.

    Raises:
        LaneError: The environment failed; the model was saved as it was before that.
        NonFiniteError: The run diverges.
        CheckpointError: A checkpoint can't be written.
        RunError: Another file can't be written.
        SystemExit: A signal ended training; the model was saved.
    """
    checkpoints = make_checkpoints(arguments, folder)
    shared = are_several()
    outputs: list[KVWriter] = [progress]
    if arguments.tensorboard:
        outputs.append(TensorBoardFile(str(folder.path), progress.since))
    model.set_logger(Logger(str(folder.path), outputs))
    try:
        with StopOnSignal(checkpoints) as stop:
            # In this order: what diverges is neither scored nor saved, and a score is in the log
            # before the checkpoint that counts on it.
            callbacks = [DivergenceGuard(), evaluations, checkpoints, stop]
            learn_with_rollbacks(model, arguments, folder, callbacks)
    except BaseException as error:
        go_on = f"To go on: {command(arguments, folder)}"
        if model._n_updates == 0:
            folder.discard()
            go_on = "Nothing was learned yet"
        # Other processes that share the run wait elsewhere: the last checkpoint must do.
        if isinstance(error, LaneError) and model._n_updates > 0 and not shared:
            model.save(folder.model)
            checkpoints.save()
            raise LaneError(
                f"{error}\n{go_on}\n{how_to_go_on(folder)}", error.lane, error.step
            ) from error
        if isinstance(error, CheckpointError):
            raise CheckpointError(f"{error}. {go_on}") from error
        if isinstance(error, OSError):
            raise RunError(f"the run's files can't be written: {error}. {go_on}") from error
        if isinstance(error, KeyboardInterrupt | SystemExit) and model._n_updates > 0:
            print(f"\nnodepert: {go_on}", file=sys.stderr)
        raise
    finally:
        model.logger.close()
    if stop.stopped:
        path = newest_checkpoint(folder.checkpoints).path
        print(f"\nnodepert: stopped, saved {path}\n"
              f"To go on{'' if is_exact(path) else ', in new episodes'}: "
              f"{command(arguments, folder)}", file=sys.stderr)  # fmt: skip
        sys.exit(stop.exit_code)


def follow(model: NodePerturbation, arguments: TrainArguments, folder: RunFolder) -> None:
    """Trains in a process that shares the run of another, which scores, writes and reports.

    Raises:
        SystemExit: A signal ended training.
    """
    checkpoints = make_checkpoints(arguments, folder)
    with StopOnSignal(checkpoints, says=False) as stop:
        model.learn(
            max(arguments.steps - model.num_timesteps, 0),
            [checkpoints, stop],
            log_interval=None,
            reset_num_timesteps=False,
        )
    if stop.stopped:
        sys.exit(stop.exit_code)


def make_checkpoints(arguments: TrainArguments, folder: RunFolder) -> Checkpoints:
    """Twenty in a run, where nothing else was asked for."""
    every = arguments.checkpoint_every or max(arguments.steps // 20, 1)
    return Checkpoints(folder.checkpoints, every, new_episodes=arguments.checkpoint_resets)


def learn_with_rollbacks(
    model: NodePerturbation,
    arguments: TrainArguments,
    folder: RunFolder,
    callbacks: list[BaseCallback],
) -> None:
    """Trains; goes back to the last checkpoint where that diverges, if the user chose so.

    Raises:
        NonFiniteError: It diverges.
    """
    for rollbacks in range(MOST_ROLLBACKS + 1):
        bar = Progress()
        try:
            model.learn(
                max(arguments.steps - model.num_timesteps, 0),
                callback=[*callbacks, bar],
                log_interval=0,
                reset_num_timesteps=False,
            )
            return
        except NonFiniteError as error:
            if isinstance(error, LaneError):
                raise
            path = newest_checkpoint(folder.checkpoints).path
            if arguments.on_divergence == "stop" or rollbacks == MOST_ROLLBACKS:
                tried = "" if rollbacks == 0 else f", after {rollbacks} rollbacks"
                raise type(error)(
                    f"{error}. The last good state is {path}{tried}; --on-divergence rollback goes "
                    "back there with a smaller step size"
                ) from error
            roll_back(model, path, arguments.rollback_factor)
            print(
                f"\nnodepert: {error}\nnodepert: rolled back to {path}, learning_rate "
                f"{model.config.learning_rate:g} from now on",
                file=sys.stderr,
            )
        finally:
            if hasattr(bar, "pbar"):  # it is made when training starts
                bar.pbar.close()


def command(arguments: TrainArguments, folder: RunFolder) -> str:
    """What goes on with a run."""
    env = f"{arguments.env} " if ":" in arguments.env else ""
    start = "torchrun … --no-python " if are_several() else ""
    return f"{start}nodepert train {env}--resume {folder.path}"


def how_to_go_on(folder: RunFolder) -> str:
    """What a user can do in Python after the environment has failed."""
    return (
        f"The model as it was before that is in {folder.model}. To go on with it in Python:\n"
        f"  model = NodePerturbation.load({str(folder.model)!r}, env)\n"
        "  model.learn(steps, reset_num_timesteps=False)\n"
        "Lanes that fail now and then can be restarted: env = ProcessVectorEnv([make] * lanes, "
        "timeout=60, max_restarts=10)"
    )
