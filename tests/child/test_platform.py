"""What differs between systems about child processes."""

import subprocess
import sys


def test_the_peak_is_this_program_s_and_not_of_whoever_started_it() -> None:
    ballast = bytearray(b"x" * (300 << 20))  # this process is large, the one that it starts is not
    code = "from server.child.platform import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert len(ballast) > 2 * int(done.stdout) > 0
