"""`python -m scripts.forge FOLDER`: one stage, whose order is FOLDER/job.json; its last line is what came of it."""

import json
import sys
from pathlib import Path

from server.settings import load_settings

from ..reporting import reporting
from .stages import KINDS, read


def main(folder: Path) -> None:
    """Run the stage; somebody reads our lines, and when they go, we end."""
    with reporting(as_json=True) as reporter:
        job = read(folder / "job.json")
        outcome = KINDS[job.kind](job, folder, load_settings(), reporter)
    sys.stdout.write(json.dumps({"outcome": outcome}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
