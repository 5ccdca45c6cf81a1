"""The jail that a harness runs in.

Covered by bubblewrap: no network (not even loopback), no host files but a read-only system
runtime, the harness's own tree and its one paper; no host processes, no signals to them, no
parent environment, no new namespaces, private ``/work`` and ``/tmp`` in memory with a size cap.
By a filter of system calls (``syscalls.py``): one process with its threads, which may become
another program but not two; only UNIX sockets; nothing of the kernel that an interpreter doesn't
need.  By rlimits: address space, CPU seconds, file size, open files, threads, no core dumps.  By
the parent: an idle deadline, and the whole process namespace killed at the end.

Not covered: a kernel exploit; timing side channels; kernel memory that no rlimit counts (a million
empty files, the stacks of threads when metaopt runs as root, whom the kernel exempts from their
limit), which lasts until the deadline: where that matters, give metaopt a control group.

With ``none`` only the environment is cleared and the rlimits hold: use it for harnesses you trust.
"""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Literal

from inner_agent import syscalls
from inner_agent.errors import JailFailed, UserError
from inner_agent.settings import InnerConfig, Limits

Mode = Literal["bubblewrap", "none"]
TAIL_BYTES = 8_000
MAX_PROCESSES = 64
# -I would also ignore PYTHONHASHSEED; with a cleared environment it adds nothing else to -P -s, and
# with a fixed hash seed a harness that iterates over a set is the same program every time.
FLAGS = ("-P", "-s", "-S", "-B")
HASH_SEED = "0"
INSTALL = "install bubblewrap and libseccomp (Debian: apt-get install bubblewrap libseccomp2)"


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path shown read-only (or writable) inside the jail."""

    host: Path
    inside: str
    writable: bool = False


@dataclass(slots=True)
class Child:
    """A jailed process, its end of the socket, and what it wrote to stderr.

    ``status`` is where bubblewrap, and nobody in the jail, reports how its child ended.
    """

    process: subprocess.Popen[bytes]
    sock: socket.socket
    errors: IO[bytes]
    status: IO[bytes] | None
    scratch: tempfile.TemporaryDirectory[str] | None

    async def wait(self, timeout_s: float) -> int | None:
        """The exit status, or ``None`` when it still runs after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await _exited(self.process.pid)
        except TimeoutError:
            return self.process.poll()
        return self.process.wait()  # at once, but for a debugger that has to let go of it first

    def raise_if_jail_failed(self) -> None:
        """Raise ``JailFailed`` when the process ended without the harness having been started."""
        if self.status is None or self.process.poll() in (None, 0):
            return
        self.status.seek(0)
        if b'"exit-code"' not in self.status.read():
            self.errors.seek(0)
            said = self.errors.read(2_000).decode("utf-8", "replace").split()
            raise JailFailed(f"the jail did not start ({' '.join(said)[:300] or 'no message'})")

    def kill(self) -> None:
        """End it and everything it started; safe to call twice."""
        # The socket first: a grandchild that left the session may still hold the other end.
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def close(self) -> str:
        """Kill, release everything, and return the tail of stderr."""
        self.kill()
        self.sock.close()
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - TAIL_BYTES))
        tail = self.errors.read().decode("utf-8", "replace")
        self.errors.close()
        if self.status:
            self.status.close()
        if self.scratch:
            self.scratch.cleanup()
        return tail


def choose_mode(config: InnerConfig) -> Mode:
    """The jail for this config.  Raises ``UserError`` when real endpoints would run without one,
    and where a process may use less than ``limits`` says: no harness would start."""
    if _prlimit():
        _refuse_low_limits(config.limits)
    wanted = config.sandbox.mode
    if wanted == "none":
        return "none"
    problem = bubblewrap_problem()
    if problem is None:
        return "bubblewrap"
    real = any(config.endpoints[m.endpoint].kind != "simulator" for m in config.models.values())
    if wanted == "bubblewrap" or real:
        raise UserError(
            f'sandbox: {problem}; {INSTALL}, or set sandbox.mode = "none" to run model-written'
            " code unconfined"
        )
    return "none"


def _refuse_low_limits(limits: Limits) -> None:
    wanted = (
        ("memory_mb", resource.RLIMIT_AS, limits.memory_mb * 2**20, "v"),
        ("cpu_s", resource.RLIMIT_CPU, limits.cpu_s + 1, "t"),
        ("file_mb", resource.RLIMIT_FSIZE, limits.file_mb * 2**20, "f"),
    )
    for name, number, least, flag in wanted:
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY and hard < least:
            raise UserError(
                f"limits.{name} = {getattr(limits, name)}: this shell lets a process have less"
                f" (ulimit -H{flag}); start from one without that limit, or set limits.{name} lower"
            )


@cache
def bubblewrap_problem() -> str | None:
    """Why bubblewrap can't be used here, or ``None``; it is really run once."""
    if not shutil.which("bwrap"):
        return "bubblewrap isn't installed"
    try:
        program = syscalls.open_program()
    except JailFailed as e:
        return f"the filter of system calls can't be made ({e})"
    trial = [*_bubblewrap([]), "--seccomp", str(program), "--"]
    trial += [str(_python()), "-I", "-S", "-c", "pass"]
    try:
        done = subprocess.run(
            trial, capture_output=True, text=True, check=False, pass_fds=[program]
        )
    finally:
        os.close(program)
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"bubblewrap doesn't work here ({last})"


def start(
    mode: Mode, script: Sequence[str], mounts: Sequence[Mount], limits: Limits,
    output: IO[bytes] | None = None,
) -> Child:  # fmt: skip
    """Start ``python -P -s -S -B script…`` in the jail with a socket in ``METAOPT_FD``.

    ``script`` and ``mounts`` name paths inside the jail; in mode ``none`` they are mapped to the
    host's.  The working directory is ``/work`` (a temporary folder in mode ``none``).  What it
    prints goes to the file ``output``, ``limits.file_mb`` of it at most, or nowhere.
    """
    ours, theirs = socket.socketpair()
    errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by Child.close)
    fd = str(theirs.fileno())
    scratch, status, passed = None, None, [theirs.fileno()]
    program = syscalls.open_program() if mode == "bubblewrap" else None
    python = [str(_python()), *FLAGS]
    env = {"METAOPT_FD": fd, "PYTHONHASHSEED": HASH_SEED, "PATH": os.defpath}
    if program is not None:
        given = [word for name, value in env.items() for word in ("--setenv", name, value)]
        status = tempfile.TemporaryFile()  # noqa: SIM115  (closed by Child.close)
        passed += [status.fileno(), program]
        given += ["--json-status-fd", str(status.fileno()), "--seccomp", str(program)]
        limited = _rlimits(limits, MAX_PROCESSES)
        command = [*_bubblewrap(mounts, limits), *given, "--", *limited, *python, *script]
        cwd = None
    else:
        scratch = tempfile.TemporaryDirectory(prefix="metaopt-")
        inside = _lay_out(Path(scratch.name), mounts)
        command, cwd = [*_rlimits(limits), *python, *map(inside, script)], scratch.name
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output or subprocess.DEVNULL,
            stderr=errors, pass_fds=passed, start_new_session=True, cwd=cwd,
            env=env,
        )  # fmt: skip
    finally:
        theirs.close()
        if program is not None:
            os.close(program)
    return Child(process, ours, errors, status, scratch)


async def precompile(mode: Mode, harness: Path, limits: Limits) -> None:
    """Put bytecode beside a harness's modules, so that not every rollout compiles them again.

    In the jail, for hostile source can bring the compiler down; what failed to compile stays
    source.  None of the harness's own code runs while its tree is writable.
    """
    script = ["-m", "compileall", "-q", "/harness"]
    child = start(mode, script, [Mount(harness, "/harness", writable=True)], limits)
    try:
        await child.wait(limits.idle_s)
    finally:
        child.close()


def _bubblewrap(mounts: Sequence[Mount], limits: Limits | None = None) -> list[str]:
    size = str((limits.file_mb if limits else 1) * 2**20)
    command = [
        "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent",
        "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "jail",
        *_runtime(), "--dev", "/dev", "--size", size, "--tmpfs", "/tmp",
        "--size", size, "--tmpfs", "/work",
    ]  # fmt: skip
    for m in mounts:
        command += ["--bind" if m.writable else "--ro-bind", str(m.host), m.inside]
    # The root and /dev are memory without a size cap: nothing is left to be written there.
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work"]


@cache
def _runtime() -> tuple[str, ...]:
    """Read-only binds of what an interpreter needs: system libraries and its own prefix."""
    binds: list[str] = ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "bin"):
        path = Path("/", name)
        if path.is_symlink():
            binds += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            binds += ["--ro-bind", str(path), str(path)]
    prefix = Path(sys.base_prefix)
    if not prefix.is_relative_to("/usr"):
        binds += ["--ro-bind", str(prefix), str(prefix)]
    return tuple(binds)


@cache
def _python() -> Path:
    """The real interpreter: a virtual environment's link would lead out of the jail."""
    return Path(sys.executable).resolve()


@cache
def _prlimit() -> str | None:
    """Where the jail can see it too: a part of util-linux, in /usr on every distribution."""
    return shutil.which("prlimit", path="/usr/bin:/bin")


def _rlimits(limits: Limits, processes: int | None = None) -> list[str]:
    """A prefix that sets the limits before anything else runs (in the parent it would need a
    fork hook, which is unsafe with threads).

    ``processes`` only inside the jail: there the kernel counts the jail's alone, while outside it
    would count all that the user runs.
    """
    if not _prlimit():
        return []
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = min(256, hard) if hard > 0 else 256
    count = [f"--nproc={processes}"] if processes else []
    return [
        str(_prlimit()), f"--as={limits.memory_mb * 2**20}",
        f"--cpu={limits.cpu_s}:{limits.cpu_s + 1}",  # SIGXCPU first: SIGKILL may be anybody's
        f"--fsize={limits.file_mb * 2**20}", f"--nofile={files}", "--core=0", *count, "--",
    ]  # fmt: skip


def _lay_out(scratch: Path, mounts: Sequence[Mount]) -> Callable[[str], str]:
    """Mode ``none``: copy what belongs into the working folder, map the other paths."""
    known = {m.inside: str(m.host.absolute()) for m in mounts}  # it runs in another folder
    for m in mounts:
        if m.inside.startswith("/work/"):
            shutil.copy(m.host, scratch / Path(m.inside).name)

    def inside(argument: str) -> str:
        for prefix, host in known.items():
            if argument == prefix or argument.startswith(prefix + "/"):
                return host + argument[len(prefix) :]
        return argument

    return inside


async def _exited(pid: int) -> None:
    """Wait for a child by its pidfd: no thread, no signal handler, no polling."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
