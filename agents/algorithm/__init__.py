"""The algorithm with probes: from a window of losses to new weights, in the paper's equations."""
