"""Environments as the agent plays them: lanes, taken over, watched, paired and restarted."""
