"""Model files: safetensors and JSON, written at once, and loaded without running code."""
