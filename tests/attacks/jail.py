"""Attempts to get out of the jail, each the body of a function that returns what it got.

Each is made in the jail, where it must get nothing; in the jail without the filter of system calls,
where those ``by`` the filter must work and no other; and without a jail, where all must work: an
attack that is broken proves nothing.  ``alone`` says why one isn't made there.
"""

from dataclasses import dataclass, field
from typing import Literal

HARMFUL = "it would harm the machine that tests"
ABROAD = "it would leave the machine"
EVEN_SO = "it gets nothing even so"


@dataclass(frozen=True)
class Jailbreak:
    """``reason`` is the run's in the jail.  ``root``: others than root can't anyway.  ``rare``:
    kernels differ in whether they offer it, so outside the whole jail nothing is expected."""

    name: str
    source: str
    reason: str = "passed"
    by: Literal["jail", "filter"] = "jail"
    alone: str = ""
    root: bool = False
    rare: bool = False
    limits: dict[str, float] = field(default_factory=dict)


TOOLS = """
import ctypes, errno, fcntl, mmap, platform, resource, signal, stat, struct, termios
HERE = os.path.dirname(os.path.abspath(__file__))
LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {  # of system calls that have no function: x86-64, aarch64
    "add_key": (248, 217), "bpf": (321, 280), "clone": (56, 220), "clone3": (435, 435),
    "fsopen": (430, 430), "io_setup": (206, 0), "io_uring_setup": (425, 425), "keyctl": (250, 219),
    "move_pages": (279, 239), "msgget": (68, 186), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "pidfd_open": (434, 434), "pivot_root": (155, 41),
    "pidfd_getfd": (438, 438), "semget": (64, 190), "shmget": (29, 194), "syslog": (103, 116),
    "userfaultfd": (323, 282),
}

def syscall(name, *arguments):
    number = NUMBERS[name][platform.machine() == "aarch64"] if isinstance(name, str) else name
    return checked(LIBC.syscall(ctypes.c_long(number), *map(as_argument, arguments)))

def as_argument(value):
    return ctypes.c_long(value) if isinstance(value, int) else value

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def read(path):
    with open(path, "rb") as file:
        return file.read(100)

def write(path):
    with open(path, "ab") as file:
        file.write(b"#")
    return path

def connect(family, kind, address):
    with socket.socket(family, kind) as s:
        s.settimeout(2)
        s.connect(address)
        return s.send(b"hello")

def child(pid):
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid

def outgrow(limit):
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (hard, hard))
    resource.setrlimit(limit, (hard + 1, hard + 1))
    return hard + 1
"""


def _reads(what: str, key: str) -> Jailbreak:
    return Jailbreak(f"reads {what}", f"return read(HOST[{key!r}])")


def _writes(where: str, path: str) -> Jailbreak:
    return Jailbreak(f"writes to {where}", f"return write({path!r})", alone=HARMFUL)


def _raises(what: str, limit: str) -> Jailbreak:
    return Jailbreak(f"raises its limit of {what}", f"return outgrow(resource.{limit})", root=True)


FILES = [
    _reads("the host's users", "users"),
    _reads("another paper", "paper"),
    _reads("another candidate", "candidate"),
    _reads("the trusted code", "code"),
    _reads("the splits", "splits"),
    _reads("the run's store", "run"),
    _reads("the recorded calls", "calls"),
    _reads("a config with a key", "config"),
    Jailbreak("lists the run's folder", "return os.listdir(os.path.dirname(HOST['run']))"),
    Jailbreak(
        "follows a link of its own",
        "os.symlink(HOST['paper'], 'link'); return read('link')",
    ),
    Jailbreak(
        "climbs up from its tree",
        "return read(HERE + '/../' * 20 + HOST['paper'])",
    ),
    Jailbreak(
        "opens a file by its handle",
        """
        handle, mount = ctypes.create_string_buffer(struct.pack("I", 128), 136), ctypes.c_int()
        checked(LIBC.name_to_handle_at(-100, b"/usr", handle, ctypes.byref(mount), 0))
        return checked(LIBC.open_by_handle_at(os.open("/usr", 0), handle, 0))
        """,
        root=True,
    ),
    Jailbreak("changes another candidate", "return write(HOST['candidate'])"),
    Jailbreak("changes the run's store", "return write(HOST['run'])"),
    Jailbreak("changes its own tree", "return write(HERE + '/harness.py')"),
    Jailbreak("adds to its own tree", "return write(HERE + '/more.py')"),
    Jailbreak("opens its tree to all", "os.chmod(HERE, 0o777); return HERE"),
    Jailbreak("changes its paper", "return write('paper.txt')"),
    Jailbreak("puts another paper in place", "os.rename('paper.txt', 'old'); return 'old'"),
    _writes("the root", "/x"),
    _writes("the system", "/usr/x"),
    _writes("a program", "/usr/bin/python3"),
    _writes("the libraries", "/lib/x"),
    _writes("the settings", "/etc/x"),
    _writes("the devices", "/dev/x"),
    _writes("shared memory", "/dev/shm/x"),
    Jailbreak(
        "writes to its interpreter",
        "return write(os.path.dirname(os.__file__) + '/x.py')",
        alone=HARMFUL,
    ),
    Jailbreak(
        "makes a disk's device",
        "os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0)); return os.stat('disk')",
        root=True,
    ),
    Jailbreak("reads the kernel's log", "return os.open('/dev/kmsg', os.O_RDONLY)", root=True),
    Jailbreak(
        "asks for the kernel's log",
        "return syscall('syslog', 3, ctypes.create_string_buffer(999), 999)",
        by="filter",
        rare=True,
    ),
    Jailbreak("looks into /proc", "return os.listdir('/proc')"),
    Jailbreak("looks into /sys", "return os.listdir('/sys')"),
]

NETWORK = [
    Jailbreak(
        "TCP", "return connect(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', HOST['tcp']))"
    ),
    Jailbreak(
        # To send one is no success: somebody has to hear it.
        "UDP",
        "connect(socket.AF_INET, socket.SOCK_DGRAM, ('127.0.0.1', HOST['udp']))",
    ),
    Jailbreak(
        "IPv6",
        "return connect(socket.AF_INET6, socket.SOCK_STREAM, ('::1', HOST['tcp6']))",
        rare=True,
    ),
    Jailbreak("a UNIX socket", "return connect(socket.AF_UNIX, socket.SOCK_STREAM, HOST['unix'])"),
    Jailbreak(
        "an abstract socket",
        "return connect(socket.AF_UNIX, socket.SOCK_STREAM, '\\0' + HOST['abstract'])",
    ),
    Jailbreak("names", "return socket.create_connection(('example.org', 80), 2)", alone=ABROAD),
    Jailbreak(
        "a name server",
        "return connect(socket.AF_INET, socket.SOCK_STREAM, ('9.9.9.9', 53))",
        alone=ABROAD,
    ),
    Jailbreak(
        "netlink",
        "return [name for _, name in socket.if_nameindex() if name != 'lo'] or None",
        rare=True,
    ),
    Jailbreak(
        "raw packets",
        "return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        root=True,
    ),
    Jailbreak("packets", "return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", root=True),
    Jailbreak(
        "vsock",
        "return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        by="filter",
        rare=True,
    ),
    Jailbreak(
        "the kernel's ciphers",
        "return socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        by="filter",
        rare=True,
    ),
    Jailbreak("an internet socket", "return socket.socket()", by="filter"),
]

OTHERS = [
    Jailbreak(
        "looks for keys in its environment",
        "return [value for value in os.environ.values() if HOST['mark'] in value] or None",
        alone=EVEN_SO,
    ),
    Jailbreak("reads another's environment", "return read(f\"/proc/{HOST['pid']}/environ\")"),
    Jailbreak(
        "opens another's memory", "return os.open(f\"/proc/{HOST['pid']}/mem\", 0)", root=True
    ),
    Jailbreak(
        "copies another's memory",
        """
        class Vector(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
        mine = ctypes.create_string_buffer(8)
        here = Vector(ctypes.cast(mine, ctypes.c_void_p), 8)
        there = Vector(HOST["address"], 8)
        read = LIBC.process_vm_readv
        checked(read(HOST["pid"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0))
        return mine.raw
        """,
        root=True,
    ),
    Jailbreak(
        "traces another",
        "return checked(LIBC.ptrace(0x4206, HOST['pid'], None, None)) or 'seized'",
        root=True,
    ),
    Jailbreak(
        "is traced", "return checked(LIBC.ptrace(0, 0, None, None)) or 'traced'", by="filter"
    ),
    Jailbreak("signals another", "os.kill(HOST['pid'], 0); return HOST['pid']"),
    Jailbreak("signals all", "os.kill(-1, 0); return 'all'"),
    Jailbreak("kills the first process", "os.kill(1, signal.SIGKILL)", alone=HARMFUL),
    Jailbreak("holds another", "return syscall('pidfd_open', HOST['pid'], 0)"),
    Jailbreak(
        "takes a descriptor of another",
        "return syscall('pidfd_getfd', syscall('pidfd_open', HOST['pid'], 0), 1, 0)",
        root=True,
    ),
    Jailbreak("limits another", "return resource.prlimit(HOST['pid'], resource.RLIMIT_CORE)"),
    Jailbreak(
        "finds descriptors left open",
        """
        own = (FD, LINES.fileno())
        return [n for n in range(3, 64) if n not in own and os.path.sameopenfile(n, n)] or None
        """,
        alone=EVEN_SO,
    ),
    Jailbreak(
        "types into a terminal",
        "fcntl.ioctl(os.open('/dev/tty', os.O_RDWR), termios.TIOCSTI, b'x'); return 'typed'",
        alone=EVEN_SO,
    ),
    Jailbreak("opens a terminal", "return os.openpty()", by="filter"),
    Jailbreak(
        "uses the session's keys", "return syscall('keyctl', 0, -3, 1)", by="filter", rare=True
    ),
    Jailbreak(
        "leaves a key behind",
        "return syscall('add_key', b'user', b'metaopt', b'x', 1, -2)",
        by="filter",
        rare=True,
    ),
]

KERNEL = [
    Jailbreak(
        "a user namespace", "return checked(LIBC.unshare(0x10000000)) or 'unshared'", root=True
    ),
    Jailbreak(
        "a network namespace", "return checked(LIBC.unshare(0x40000000)) or 'made'", root=True
    ),
    Jailbreak(
        "a child in a namespace",
        "return child(syscall('clone', 0x10000011, 0, 0, 0, 0))",
        root=True,
    ),
    Jailbreak(
        "enters another's namespaces",
        "return checked(LIBC.setns(syscall('pidfd_open', os.getppid(), 0), 0x04000000)) or 'in'",
        root=True,
    ),
    Jailbreak(
        "a jail in the jail",
        """
        jail = ["bwrap", "--ro-bind", "/", "/", "true"]
        return subprocess.run(jail, check=True, capture_output=True).args
        """,
    ),
    Jailbreak(
        "mounts", "return checked(LIBC.mount(b'x', b'/tmp', b'tmpfs', 0, None)) or 1", alone=HARMFUL
    ),
    Jailbreak("prepares a mount", "return syscall('fsopen', b'tmpfs', 0)", root=True),
    Jailbreak("clones a mount", "return syscall('open_tree', -100, b'/usr', 1)", root=True),
    Jailbreak(
        "makes its tree writable",
        "return checked(LIBC.mount(None, b'/harness', None, 0x1020, None)) or 'remounted'",
        alone=HARMFUL,
    ),
    Jailbreak("unmounts", "return checked(LIBC.umount2(b'/work', 2)) or 'gone'", alone=HARMFUL),
    Jailbreak("chroot", "os.mkdir('root'); os.chroot('root'); return 'root'", root=True),
    Jailbreak("pivot_root", "return syscall('pivot_root', b'.', b'.') or 'done'", alone=HARMFUL),
    Jailbreak("names the host", "socket.sethostname('x'); return 'named'", alone=HARMFUL),
    Jailbreak(
        "sets the clock", "time.clock_settime(time.CLOCK_REALTIME, 0); return 'set'", alone=HARMFUL
    ),
    Jailbreak(
        "keeps a capability",
        """
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        checked(LIBC.capget(header, data))
        return any(data) or None
        """,
        root=True,
    ),
    Jailbreak(
        "gains by a setuid program",
        "return None if LIBC.prctl(39, 0, 0, 0, 0) else 'may gain'",  # PR_GET_NO_NEW_PRIVS
    ),
    Jailbreak("bpf", "return syscall('bpf', 0, struct.pack('5I', 2, 4, 8, 1, 0), 20)", rare=True),
    Jailbreak(
        "watches the processor",
        "return syscall('perf_event_open', struct.pack('IIQ100x', 1, 112, 0), 0, -1, -1, 0)",
        by="filter",
        rare=True,
    ),
    Jailbreak(
        "io_uring",
        "return syscall('io_uring_setup', 4, ctypes.create_string_buffer(120))",
        by="filter",
        rare=True,
    ),
    Jailbreak("userfaultfd", "return syscall('userfaultfd', 1)", by="filter", rare=True),
    Jailbreak(
        "the machine's slots for asynchronous input",
        "return syscall('io_setup', 128, ctypes.byref(ctypes.c_ulong())) or 'taken'",
        by="filter",
        rare=True,
    ),
    Jailbreak(
        "another personality",
        "return checked(LIBC.personality(0x0400000)) or 'read implies exec'",
        by="filter",
    ),
    Jailbreak(
        "calls the kernel as a program of 32 bits",
        """
        code = mmap.mmap(-1, 4096, prot=7)
        code.write(bytes.fromhex("b814000000cd80c3"))  # getpid
        here = ctypes.addressof(ctypes.c_char.from_buffer(code))
        return ctypes.CFUNCTYPE(ctypes.c_int)(here)()
        """,
        reason="crashed",
        by="filter",
        rare=True,
    ),
    Jailbreak(
        "calls the kernel with another table",
        "return syscall(0x40000000 + 39)",  # getpid, as x32
        reason="crashed",
        by="filter",
        rare=True,
    ),
]

PROCESSES = [
    Jailbreak("a process", "return child(os.fork())", by="filter"),
    Jailbreak(
        "a process by another call",
        "return child(syscall('clone3', struct.pack('8Q', 0, 0, 0, 0, 17, 0, 0, 0), 64))",
        by="filter",
    ),
    Jailbreak("a program", "return subprocess.run(['/bin/true'], check=True).args", by="filter"),
    Jailbreak(
        "a pool of processes",
        "import multiprocessing; return multiprocessing.Pool(1).map(abs, [-1])",
    ),
    Jailbreak(
        "a program out of memory",
        """
        copy = os.memfd_create("x")
        os.write(copy, open("/bin/true", "rb").read())
        return child(os.posix_spawn(f"/proc/self/fd/{copy}", ["x"], {}))
        """,
    ),
    Jailbreak("another program in its place", "os.execv('/bin/true', ['true'])", "no_result"),
    Jailbreak(
        "a fork bomb",
        """
        def bomb():
            while True:
                os.fork()
        for n in range(9):
            threading.Thread(target=bomb, daemon=True).start()
        bomb()
        """,
        alone=HARMFUL,
        by="filter",
    ),
    Jailbreak(
        "a thread bomb",
        """
        stop, made = threading.Event(), 0
        try:
            while made < 5_000:
                threading.Thread(target=stop.wait).start()
                made += 1
        finally:
            stop.set()
        return made
        """,
        alone=HARMFUL,
    ),
    _raises("memory", "RLIMIT_AS"),
    _raises("time", "RLIMIT_CPU"),
    _raises("open files", "RLIMIT_NOFILE"),
    _raises("a file's size", "RLIMIT_FSIZE"),
    _raises("a core dump's size", "RLIMIT_CORE"),
    Jailbreak(
        "deaf to signals",
        """
        for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        time.sleep(60)
        """,
        "timed_out",
        limits={"idle_s": 0.4},
    ),
    Jailbreak(
        "stops itself", "os.kill(os.getpid(), signal.SIGSTOP)", "timed_out", limits={"idle_s": 0.4}
    ),
    Jailbreak("sleeps", "time.sleep(60)", "timed_out", limits={"idle_s": 0.4}),
    Jailbreak("spins", "while True: pass", "crashed", limits={"cpu_s": 1}),
    Jailbreak(
        "spins in threads, deaf to the warning",
        """
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        for _ in range(4):
            threading.Thread(target=exec, args=("while True: pass",)).start()
        time.sleep(60)
        """,
        "crashed",
        limits={"cpu_s": 1},
    ),
    Jailbreak("dumps its core", "os.abort()", "crashed"),
]

FLOODS = [
    Jailbreak("memory", "return len([bytearray(1 << 20) for _ in range(600)])", alone=EVEN_SO),
    Jailbreak(
        "memory in files without a name",
        "return [os.posix_fallocate(os.memfd_create('x'), 0, 16 << 20) for _ in range(9)]",
        by="filter",
    ),
    Jailbreak("memory shared", "return syscall('shmget', 0, 64 << 20, 0o600)", by="filter"),
    Jailbreak("semaphores", "return syscall('semget', 0, 30_000, 0o600)", by="filter"),
    Jailbreak("message queues", "return [syscall('msgget', 0, 0o600) for _ in 'ab']", by="filter"),
    Jailbreak(
        "files",
        """
        written = {}
        for folder in ("/work", "/tmp", "/", "/dev", "/dev/shm", "/harness"):
            written[folder] = 0
            try:
                for n in range(8):
                    with open(f"{folder}/f{n}", "wb", buffering=0) as file:
                        written[folder] += file.write(bytes(1 << 20)) >> 20
            except OSError:
                pass
        allowed = {"/work": 2, "/tmp": 2, "/": 0, "/dev": 0, "/dev/shm": 0, "/harness": 0}
        return written if written != allowed else None
        """,
        alone=HARMFUL,
        limits={"file_mb": 2},
    ),
    Jailbreak(
        "many files",
        """
        for n in range(20_000):
            os.close(os.open(f"f{n}", os.O_CREAT))
        """,
        alone=HARMFUL,
    ),
    Jailbreak(
        "a file with a hole",
        "os.truncate(os.open('big', 66), 1 << 40); return 'big'",
        alone=EVEN_SO,
    ),
    Jailbreak("stderr with a hole", "os.ftruncate(2, 1 << 40); return 'stderr'", alone=EVEN_SO),
    Jailbreak("stdout", "print('x' * (40 << 20), flush=True)", alone=EVEN_SO),
    Jailbreak(
        "stderr", "while True: os.write(2, b'y' * 100_000)", "crashed", limits={"file_mb": 2}
    ),
    Jailbreak(
        "descriptors",
        "return [os.dup(0) for _ in range(2_000)]",
        alone=EVEN_SO,
    ),
]

JAILBREAKS = [*FILES, *NETWORK, *OTHERS, *KERNEL, *PROCESSES, *FLOODS]
