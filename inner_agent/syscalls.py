"""Which system calls the jail leaves to a harness: what an interpreter needs, and no more.

A list of what is allowed, so that what is forgotten here, or new in a kernel, is refused: as on a
kernel that lacks it (``ENOSYS``), for then the C library falls back on what it has.  Threads may be
started, processes may not.  Memory that no rlimit counts (System V objects, memfd) is left out too.

libseccomp knows each architecture's numbers; a call that comes by way of another one kills.
"""

import errno
import os
import tempfile
import termios
from functools import cache
from typing import Any

from inner_agent.errors import JailFailed

ALLOWED = """
execve exit exit_group wait4 waitid
futex futex_waitv set_robust_list get_robust_list set_tid_address rseq membarrier gettid
arch_prctl sched_yield sched_getaffinity sched_setaffinity sched_getscheduler sched_getparam
sched_get_priority_max sched_get_priority_min getcpu getpriority setpriority
brk mmap munmap mremap mprotect madvise mincore msync mlock mlock2 munlock
kill tkill tgkill rt_sigaction rt_sigprocmask rt_sigpending rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack restart_syscall pause

read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile
copy_file_range open openat openat2 creat close close_range dup dup2 dup3 fcntl
flock pipe pipe2 fsync fdatasync sync_file_range fallocate ftruncate truncate
fadvise64 readahead stat lstat fstat newfstatat statx statfs fstatfs
access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir
umask mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat
getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr
removexattr lremovexattr fremovexattr

poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
epoll_pwait2 eventfd eventfd2 signalfd signalfd4
connect bind listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown

time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep times getitimer setitimer
alarm timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create
timerfd_settime timerfd_gettime

getpid getppid getpgid getpgrp getsid getuid getgid geteuid getegid getresuid getresgid getgroups
capget uname sysinfo getrusage getrlimit setrlimit prlimit64 getrandom
"""

CLONE_THREAD = 0x00010000
# Namespaces: time, mount, cgroup, UTS, IPC, user, PID, network.
CLONE_NEW = 0x00000080 | 0x00020000 | 0x7E000000
MSG_OOB = 1
FICLONE = 0x40049409  # a copy of a file that shares its blocks
# Nothing that controls a terminal: TCGETS only tells whether it is one.
IOCTLS = (
    termios.TCGETS, termios.FIOCLEX, termios.FIONCLEX, termios.FIONBIO, termios.FIONREAD,
    termios.TIOCOUTQ, FICLONE,
)  # fmt: skip
PRCTLS = (15, 16, 0x53564D41)  # a thread's name, set and read; the name of a mapping


@cache
def _program() -> int:
    """The compiled filter, in a file of its own without a name; its descriptor stays open."""
    filter_ = _filter()
    with tempfile.TemporaryFile() as file:
        filter_.export_bpf(file)
        return os.dup(file.fileno())


def open_program() -> int:
    """A descriptor from which bubblewrap reads the compiled filter; the caller closes it.

    Raises ``JailFailed``.  Compiled once a process; each reader has a position of its own.
    """
    return os.open(f"/proc/self/fd/{_program()}", os.O_RDONLY | os.O_CLOEXEC)


def _filter() -> Any:
    try:
        import pyseccomp as sc
    except RuntimeError:  # it looks for the library when it is imported
        raise JailFailed("libseccomp isn't installed") from None
    try:
        made = sc.SyscallFilter(sc.ERRNO(errno.ENOSYS))
        made.set_attr(sc.Attr.ACT_BADARCH, sc.KILL_PROCESS)
        for name in ALLOWED.split():
            _add(sc, made, sc.ALLOW, name)
        _add_restricted(sc, made)
    except OSError as e:
        raise JailFailed(f"libseccomp refuses the filter ({e.strerror})") from None
    return made


def _add_restricted(sc: Any, made: Any) -> None:
    """Calls of which one argument decides."""
    refuse = sc.ERRNO(errno.EPERM)
    bits = CLONE_THREAD | CLONE_NEW
    _add(sc, made, sc.ALLOW, "clone", sc.Arg(0, sc.MASKED_EQ, bits, CLONE_THREAD))
    _add(sc, made, refuse, "clone", sc.Arg(0, sc.MASKED_EQ, CLONE_THREAD, 0))
    for name in ("fork", "vfork"):
        _add(sc, made, refuse, name)
    for name in ("socket", "socketpair"):
        _add(sc, made, sc.ALLOW, name, sc.Arg(0, sc.EQ, 1))  # AF_UNIX
        _add(sc, made, sc.ERRNO(errno.EAFNOSUPPORT), name, sc.Arg(0, sc.NE, 1))
    for name, place in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3),
                        ("recvfrom", 3), ("recvmsg", 2), ("recvmmsg", 3)):  # fmt: skip
        _add(sc, made, sc.ALLOW, name, sc.Arg(place, sc.MASKED_EQ, MSG_OOB, 0))
    for request in IOCTLS:
        _add(sc, made, sc.ALLOW, "ioctl", sc.Arg(1, sc.EQ, request))
    for option in PRCTLS:
        _add(sc, made, sc.ALLOW, "prctl", sc.Arg(0, sc.EQ, option))


def _add(sc: Any, made: Any, action: int, name: str, *arguments: Any) -> None:
    """One rule.  What this libseccomp or architecture doesn't have needs none: it is refused."""
    if sc.resolve_syscall(sc.Arch.NATIVE, name) != -1:
        made.add_rule(action, name, *arguments)
