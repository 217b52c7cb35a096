"""How actions are tried and learned from, by the name of the credit."""

from typing import Any

from nodepert.agents.methods.base import Method
from nodepert.agents.methods.critic import Critic
from nodepert.agents.methods.episode import Episode
from nodepert.agents.methods.probing import Probing
from nodepert.agents.methods.score import Score
from nodepert.agents.methods.value import Value

__all__ = ["METHODS", "Critic", "Episode", "Method", "Probing", "Score", "Value"]

METHODS: dict[str, type[Method[Any]]] = {
    "paired": Probing,
    "one_sided": Probing,
    "one_point": Probing,
    "given": Probing,
    "score": Score,
    "value": Value,
    "critic": Critic,
    "episode": Episode,
}
