"""Files, numpy and Grain: from annotation texts and features to batches. Never imports jax."""
