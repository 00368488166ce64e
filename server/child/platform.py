"""What differs between Linux, macOS and Windows about child processes, in one file."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import SubprocessTransport

if sys.platform == "win32":
    import psutil
else:
    import resource


def spawn_options() -> dict[str, Any]:
    """Keyword arguments for a subprocess: a Ctrl-C in the terminal is for the server, not for its children."""
    if sys.platform == "win32":
        import subprocess

        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def detached_options() -> dict[str, Any]:
    """Keyword arguments for a process that goes on when we, and the terminal, are gone."""
    if sys.platform == "win32":
        import subprocess

        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def birth(pid: int) -> str | None:
    """When a process was born, as text that is the same each time; None where no process of this id lives.

    Linux counts it from the start of the system: its date would change with the clock.
    """
    import psutil  # not at the top: a worker has no need of it

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform == "linux":
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return f"{boot}:{fields[19]}"  # field 22 of proc_pid_stat(5)
        return repr(process.create_time())
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None


def limit_address_space(megabytes: int) -> None:
    """Let allocations past this size fail with MemoryError. Linux only: macOS ignores it, Windows has no such limit."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


def forbid_core_dumps() -> None:
    """A core file of a worker would hold prompts."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak_memory() -> int:
    """Bytes that this program held at its most."""
    if sys.platform == "win32":
        peak = int(psutil.Process().memory_info().peak_wset)
    elif sys.platform == "linux":
        # Not getrusage: its figure survives the exec, so a small program that a large one started would be large.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak


def kill(transport: "SubprocessTransport") -> None:
    """End a child at once.

    The transport's own `kill` first asks whether the child has ended, and so takes the exit status away from the event
    loop's watcher, which then reports 255.
    """
    if sys.platform == "win32":
        transport.kill()
    else:
        os.kill(transport.get_pid(), signal.SIGKILL)


def describe_exit(returncode: int | None) -> str:
    """How a process ended, for a person: 'killed by SIGSEGV' or 'exit status 3'."""
    if returncode is None:
        return "still running"
    if returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"exit status {returncode}"
