"""`python -m scripts`: one command a tool of the offline half: data, distillation, fine-tuning, search, evaluation."""

from converters.program import build

from . import commands

if __name__ == "__main__":
    build(commands, "Make a small model good at one task, and measure it.")(prog_name="python -m scripts")
