"""What every engine shares: continuous batching, prefix reuse, sampling, text. See `engine.Engine.step`."""
