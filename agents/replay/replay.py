r"""Probes that keep teaching while the policy moves.

A probe told δ = ξ·e(a), the change of the loss around the prediction a. At a later prediction a'
of the same context it would tell δ + ξᵀP(a' − a), where the loss is locally quadratic with Hessian
P. So old contexts are learned from again, R minibatches of them after each fresh one.

P is not given. In a few groups of contexts, the scouts, all have the same seed, thus show the same,
and are probed along the same ξ: half of them around the prediction, half around a prediction that
is moved by as much as the policy has moved since a stored probe. What this does to δ tells P, and
how much of an old probe is to be believed at which distance (:class:`Curvature`). Where it is too
little, as for losses without a useful curvature, a minibatch is left out. Scouts tell, too, how
much of δ is true where contexts are compared with each other (:attr:`Replay.reliability`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from nodepert.agents.algorithm.window import Window
from nodepert.agents.networks import Network, Step, predictions
from nodepert.agents.output_error import ProbeError
from nodepert.agents.replay.curvature import Curvature
from nodepert.agents.replay.probe_buffer import ProbeBuffer, Probes

__all__ = ["Replay"]

SCOUTS = 1 / 8  # of the contexts
REMEMBERED = 0.99  # of what was compared, an update
LEAST_CORRELATION = 0.5  # of a minibatch that is learned from


class Replay(nn.Module):
    """Stores probes, and gives them back as errors at what the network says now.

    Args:
        count: R, minibatches to give back after each fresh one.
        size: How many windows of a context to store.
        batch_size: Contexts in a minibatch.
        estimator: Reads errors from changes of the loss.
        dim: d, width of the prediction.
        length: ‖ξ‖ of a probe.
        generator: Random numbers.
    """

    moved: Tensor
    compared: Tensor

    def __init__(
        self,
        count: int,
        size: int,
        batch_size: int,
        estimator: ProbeError,
        dim: int,
        length: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.count, self.batch_size = count, batch_size
        self.estimator, self.generator = estimator, generator
        self.buffer = ProbeBuffer(size)
        self.curvature = Curvature(dim, length)
        # How far predictions were from those of stored probes, of the last minibatch.
        self.register_buffer("moved", torch.zeros(batch_size, dim))
        # Σ of δ as others tell it · as scouts do, and of the former's square.
        self.register_buffer("compared", torch.zeros(2, dtype=torch.float64))

    # Scouts ----------------------------------------------------------------------------------

    def share_seeds(self, seeds: list[int]) -> list[int]:
        """Seeds of contexts, the same for all of each group of scouts."""
        groups, size = scouting_groups(len(seeds), self.estimator)
        scouts = groups * size
        return [seeds[i // size * size] for i in range(scouts)] + seeds[scouts:]

    def send_scouts(self, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Probes along the same directions in each group, and where they are centred.

        Args:
            offsets: Of an estimator, shape (N, M, d).

        Returns:
            The offsets, and by how much to move the prediction before they are added, (N, d).
        """
        groups, size = scouting_groups(len(offsets), self.estimator)
        scouts, device = groups * size, offsets.device
        along = offsets[:scouts:size]  # [G, M, d]
        rows = torch.randint(len(self.moved), (groups,), generator=self.generator, device=device)
        # Nearer ones too, so that it is known how trust falls with the distance.
        part = torch.rand(groups, 1, generator=self.generator, device=device)
        moved = part * self.moved[rows]
        nowhere = (moved == 0).all(1, keepdim=True)
        moved = torch.where(nowhere, along[:, -1].flip(1), moved)
        # At a, then at a + Δ.
        signs = offsets.new_tensor(2 * self.estimator.scout_signs)[:, None, None]
        offsets, shift = offsets.clone(), torch.zeros_like(offsets[:, 0])
        offsets[:scouts] = (signs * along[:, None]).flatten(0, 1)
        shift[:scouts].view(groups, size, -1)[:, size // 2 :] = moved[:, None]
        return offsets, shift

    # What stored and moved probes say --------------------------------------------------------

    def changes(self, offsets: Tensor, losses: Tensor) -> Tensor:
        """δ of each context, less what P says is not linear in the probe.

        Scouts tell δ by themselves. Where contexts are compared with each other, those around a
        moved prediction count as what the same contexts gave around their own: else the farther the
        policy moved, the noisier all would be, and the farther it would move.

        Args:
            offsets: Shape (N, M, d).
            losses: Shape (N, M).

        Returns:
            Shape (N, K).
        """
        groups, size = scouting_groups(len(losses), self.estimator)
        scouts = groups * size
        told = self._told(losses[:scouts])
        straight = losses - self.curvature.bend(offsets)
        both = straight[:scouts].view(groups, 2, size // 2, -1)
        both[:, 1] = both[:, 0]
        changes = self.estimator.changes(straight)
        signs = told.new_tensor(self.estimator.scout_signs)[:, None]
        known = signs * told[:, :, None]  # [G, 2, signs, K]
        self._compare(changes[:scouts].view_as(known)[:, 0], known[:, 0])
        changes[:scouts] = known.flatten(0, 2)
        return changes

    def _compare(self, found: Tensor, known: Tensor) -> None:
        """Takes in δ as all other contexts tell it, and as scouts do, both along the same ξ."""
        self.compared.mul_(REMEMBERED).add_(
            torch.stack([(found * known).sum(), found.square().sum()])
        )

    @property
    def reliability(self) -> Tensor:
        """How much of a δ is true, 0…1: the slope of the regression of scouts' on others'.

        It is 1 where each context tells δ by itself, as pairs do.
        """
        both, found = self.compared
        return (both / found.clamp(min=1e-300)).clamp(0.0, 1.0)

    def _told(self, losses: Tensor) -> Tensor:
        """δ along ξ at a and at a + Δ, by scouts alone, shape (G, 2, K)."""
        signs = len(self.estimator.scout_signs)
        told = self.estimator.scouted_changes(losses.view(-1, signs, losses.shape[1]))
        return told.unflatten(0, (-1, 2))

    def changes_at(
        self, said: Tensor, centres: Tensor, changes: Tensor, probes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """δ as it would be around other predictions than those that were probed.

        Args:
            said: a', shape (N, d).
            centres: a, shape (N, d).
            changes: δ around a, shape (N, K).
            probes: ξ, shape (N, K, d).

        Returns:
            δ around a', less where it is uncertain, shape (N, K), and how well such predictions
            correlated with what scouts found, shape (N,).
        """
        moved = said - centres
        slope, correlation = self.curvature.trust(moved)
        return slope[:, None] * (changes + self.curvature.change(probes, moved)), correlation

    def take_in(self, window: Window, changes_by_step: Sequence[Tensor]) -> None:
        """Learns from the scouts of a window, and stores all of its probes, with δ of each step."""
        probes = [self.estimator.probes(offsets) for offsets in window.offsets]
        for t, valid in enumerate(window.valid):
            self._fit(window.centres[t], probes[t], window.losses[t], valid)
        rows: Probes = {
            "inputs": torch.stack(window.inputs, 1),
            "probes": torch.stack(probes, 1),
            "changes": torch.stack(list(changes_by_step), 1),
            "centres": torch.stack(window.centres, 1),
            "started": torch.stack(window.started, 1),
            "valid": window.mask.t(),
        }
        if window.start is not None:
            rows["state"] = window.start
        told = window.mask.any(0).nonzero()[:, 0]
        self.buffer.add({name: values[told] for name, values in rows.items()})

    def _fit(self, centres: Tensor, probes: Tensor, losses: Tensor, valid: Tensor) -> None:
        """P, and how much of it holds, from the scouts of one step."""
        groups, size = scouting_groups(len(centres), self.estimator)
        scouts = groups * size
        played = valid[:scouts].view(groups, size).all(1).nonzero()[:, 0]
        if not len(played):
            return
        scout = probes[:scouts:size, 0][played]
        length = scout.norm(dim=1)
        before, after = self._told(losses[:scouts])[played, :, 0].t() / length
        moved = centres[size // 2 : scouts : size] - centres[:scouts:size]
        self.curvature.fit(scout / length[:, None], moved[played], before, after)

    def minibatches(self, network: Network) -> Iterator[tuple[list[Step], Tensor, int]]:
        """Up to R minibatches of stored contexts.

        What a recurrent network remembers is worked out anew from where its window began, with the
        state that was stored there (Kapturowski et al. 2019).

        Noise in a stored δ is the same each time that it comes back, and would be learned by heart:
        ê counts by the square of what is true of it, once for δ itself and once for its repeats.

        Yields:
            What the network says now, step by step; ê, (T, N, d), and how many of its rows count.
        """
        weight = self.reliability.square().to(network.forward_weights[0].dtype)
        for _ in range(self.count if self.buffer.count >= 4 * self.batch_size else 0):
            stored = self.buffer.draw(self.batch_size, self.generator)
            count = int(stored["valid"].sum())  # before it goes to a GPU, which is not waited for
            device = network.forward_weights[0].device
            # By step: [T, N, …]
            inputs, probes, changes, centres, started, valid = (
                stored[name].to(device).transpose(0, 1)
                for name in ("inputs", "probes", "changes", "centres", "started", "valid")
            )
            state = stored["state"].to(device) if "state" in stored else None
            steps = network.record_all(inputs, state, started)
            said = predictions(steps)
            moved = said - centres
            self.moved.copy_(one_step_each(moved))
            changes, correlation = self.changes_at(
                said.flatten(0, 1), centres.flatten(0, 1), changes.flatten(0, 1),
                probes.flatten(0, 1),
            )  # fmt: skip
            if float(correlation[valid.flatten()].mean()) < LEAST_CORRELATION:
                network.forget_calls()
                continue
            error = self.estimator.estimate(changes, probes.flatten(0, 1)).view_as(centres)
            yield steps, weight * error * valid[:, :, None], count


def one_step_each(values: Tensor) -> Tensor:
    """Of a window (T, N, d), one step of each context, all steps alike often; shape (N, d)."""
    contexts = torch.arange(values.shape[1], device=values.device)
    return values[contexts % len(values), contexts]


def scouting_groups(contexts: int, estimator: ProbeError) -> tuple[int, int]:
    """How many groups of how many contexts are scouts: one at least, where there are so many."""
    size = 2 * len(estimator.scout_signs)
    return min(max(int(contexts * SCOUTS) // size, 1), contexts // size), size
