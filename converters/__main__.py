"""`python -m converters`: one command a converter; the store runs them with `--json`, people without."""

from server.environment import forbid_telemetry

from . import commands
from .program import build

if __name__ == "__main__":
    forbid_telemetry()
    build(commands, "Turn models into artifacts that an engine serves.")(prog_name="python -m converters")
