#!/usr/bin/env bash
# A newcomer's first hour, in minutes: from a clean clone to a task of one's own that is checked,
# trained and compared with other learners. It says how long that took, and fails after 15 minutes.
#
#     bash examples/first_hour.sh [FOLDER]      # default: runs/first_hour
set -euo pipefail
limit=$((15 * 60))
here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$here/runs/first_hour}
make -s -C "$here" .venv/.installed
PATH=$here/.venv/bin:$PATH
mkdir -p "$folder" && cd "$folder"

# 1. A task: open three vents so that the air is as warm as it should be. A vent knows nine positions,
# so the loss has no slope anywhere. Two methods say all that there is to say.
cat > greenhouse.py <<'PY'
import numpy as np
from gymnasium.spaces import Box

from nodepert.envs import LossEnv, register


class Greenhouse(LossEnv):
    """Keep three rooms at a temperature, given the sun on each and the wind."""

    def __init__(self):
        super().__init__()
        self.observation_space = Box(-1, 1, (4,), np.float32)
        self.action_space = Box(-1, 1, (3,), np.float32)

    def sample_contexts(self, draws):
        return {"observation": (2 * draws.uniform(4) - 1).astype(np.float32)}

    def loss(self, context, actions):
        sun, wind = np.split(context["observation"], [3], axis=1)
        vents = np.round(4 * actions) / 4
        return np.abs(0.8 * sun - vents * (0.7 + 0.3 * wind)).sum(axis=1)


register("Greenhouse-v0", Greenhouse)
PY

# 2. Is it sound, and how can it be learned?
nodepert check greenhouse:Greenhouse

# 3. Learn it, and score the model once more.
nodepert train greenhouse:Greenhouse-v0 --steps 40000 --evaluations 5 --out trained --overwrite
nodepert evaluate trained/model.zip --env greenhouse:Greenhouse-v0

# 4. Beside other learners, with as many env steps for each.
nodepert compare greenhouse:Greenhouse-v0 --agents np ppo es random --steps 40000 --seeds 2 \
    --evaluations 5 --jobs 2 --out compared

((SECONDS <= limit)) || { echo "error: took $SECONDS s, expected at most $limit" >&2; exit 1; }
echo "Took $SECONDS s."
echo "From here: $folder/greenhouse.py is yours to change; $folder/compared/report.html is the report."
