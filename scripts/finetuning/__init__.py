"""A checkpoint made good at one task: by all its weights, by LoRA, over a quantised base, by bottleneck adapters."""
