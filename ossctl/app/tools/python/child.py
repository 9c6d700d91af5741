"""The program that runs the model's Python inside a sandbox. It needs only a standard library, from 3.9 on.

It is the first process of its own PID namespace and has two parts. The watcher stays the first process, which
no other can kill: when it ends, all others end. It ends when ossctl does, and when there are too many
processes or too much memory is used. The worker runs code in a module that it keeps.

Requests and replies are text behind a length of 4 bytes, on the pipes that are standard input and output in
the beginning. A request is a marker and the code; an empty one interrupts. A reply is the error, if any. The
code never sees these two pipes: what it prints goes to standard error, a third one, in which STARTED comes
first, and the marker of the request follows the output of each piece of code.

Each conversation starts this program anew, so it imports little: with ast, json, threading and traceback, a
start takes three times the CPU time.
"""

from __future__ import annotations

import _ast
import _queue
import _signal  # type: ignore[import-not-found]  # without enums
import _thread
import os
import resource
import select
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOO_MANY_PROCESSES, TOO_MUCH_MEMORY, ENDED = 80, 81, 82  # exit codes
STARTED = b"\0started\0"  # follows what podman and docker print when they start
WATCH_MILLISECONDS = 250
OOM_EVENTS = (  # of the container's control group, in its second and first version
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
)
MAX_TRACEBACK = 4_000  # characters
MAX_OPEN_FILES = 256
MARKER_BYTES = 32
ONLY_AST = 0x400  # ast.PyCF_ONLY_AST


def watch(worker: int, limits: dict[str, int]) -> int:
    """Wait until something is wrong; return the exit code that names it."""
    waiting = select.poll()
    waiting.register(0, 0)  # reports only that the other end was closed
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    waiting.register(woken, select.POLLIN)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        found = [fd for fd, _ in waiting.poll(WATCH_MILLISECONDS)]
        if 0 in found:
            return 0
        if woken in found:
            os.read(woken, 4096)
        ended = reap(worker)
        if killed_for_memory():
            return TOO_MUCH_MEMORY
        if ended:
            return ENDED
        processes = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        if len(processes) > limits["processes"]:
            return TOO_MANY_PROCESSES
        if total(processes, resident) > limits["memory"] < total(processes, proportional):
            return TOO_MUCH_MEMORY


def reap(worker: int) -> bool:
    """Take leave of processes that have ended; return whether the worker is one of them."""
    while True:
        ended, _ = os.waitpid(-1, os.WNOHANG)
        if ended == worker:
            return True
        if ended == 0:
            return False


def killed_for_memory() -> bool:
    """Whether the kernel has killed one of a container's processes because of its limit of memory."""
    for file in OOM_EVENTS:
        try:
            with open(file) as events:
                return any(line.startswith("oom_kill ") and line != "oom_kill 0\n" for line in events)
        except OSError:
            continue
    return False


def total(processes: Sequence[str], of: Callable[[str], int]) -> int:
    """The bytes of memory of several processes, of which some may have ended."""
    amount = 0
    for name in processes:
        try:
            amount += of(name)
        except (OSError, ValueError):
            continue
    return amount


def resident(process: str) -> int:
    """Bytes of memory; what processes share counts for each of them."""
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def proportional(process: str) -> int:
    """Bytes of memory; what processes share is divided among them. Slower than `resident`."""
    with open(f"/proc/{process}/smaps_rollup") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


class Worker:
    """Runs the code of requests, one after another, in one module."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.requests: _queue.SimpleQueue[bytes] = _queue.SimpleQueue()
        self.pid, self.thread = os.getpid(), _thread.get_ident()
        self.running = False
        self.cells: dict[str, str] = {}  # the code so far, by its name in tracebacks
        self.module = types.ModuleType("__main__")
        sys.modules["__main__"] = self.module
        sys.argv = [""]
        self.commands, self.replies, self.printed = os.dup(0), os.dup(1), os.dup(2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        restrict(resource.RLIMIT_DATA, limits["memory"])
        restrict(resource.RLIMIT_FSIZE, limits["files"])
        restrict(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
        restrict(resource.RLIMIT_CORE, 0)

    def serve(self) -> None:
        """Answer requests until there are no more."""
        _thread.start_new_thread(self.listen, ())
        os.write(self.printed, STARTED)
        while True:
            request = self.requests.get()
            error = self.answer(request[MARKER_BYTES:].decode())
            if os.getpid() != self.pid:  # the code has forked, and this is the copy
                os._exit(0)
            os.write(self.printed, request[:MARKER_BYTES])
            send(self.replies, error)

    def listen(self) -> None:
        """Take requests from the pipe, on a thread of its own, so that a running one can be interrupted."""
        with os.fdopen(self.commands, "rb") as pipe:
            while len(head := pipe.read(4)) == 4:
                if request := pipe.read(int.from_bytes(head, "big")):
                    self.requests.put(request)
                else:
                    _signal.pthread_kill(self.thread, _signal.SIGINT)
        os._exit(0)

    def answer(self, code: str) -> str:
        """Run the code; return the error, if any."""
        for fd in 1, 2:
            os.dup2(self.printed, fd)
        sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)
        _signal.signal(_signal.SIGINT, self.interrupt)
        name = f"<cell {len(self.cells) + 1}>"
        self.cells[name] = code
        try:
            self.running = True
            self.execute(code, name)
        except BaseException as error:
            self.running = False
            return described(error, self.cells)
        else:
            return ""
        finally:
            self.running = False
            for stream in sys.stdout, sys.stderr:
                try:
                    stream.flush()
                except Exception:  # the code may have put anything there
                    continue

    def execute(self, code: str, name: str) -> None:
        """Run the statements; print the value of a last expression, as Jupyter does."""
        tree = compile(code, name, "exec", ONLY_AST)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, _ast.Expr):
            tree.body.pop()
        names = self.module.__dict__
        exec(compile(tree, name, "exec"), names)
        if isinstance(last, _ast.Expr):
            value = eval(compile(_ast.Expression(last.value), name, "eval"), names)
            if value is not None:
                names["_"] = value
                print(repr(value))

    def interrupt(self, *_: object) -> None:
        """Stop the code, and nothing but the code."""
        if self.running:
            raise KeyboardInterrupt


def described(error: BaseException, cells: dict[str, str]) -> str:
    """A short traceback, without the frames of this program and the folders of the libraries."""
    try:
        import linecache
        import traceback

        for name, code in cells.items():
            # Lines end where Python ends them, and not at a form feed or U+2028.
            lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            linecache.cache[name] = (len(code), None, [f"{line}\n" for line in lines], name)
        frames = error.__traceback__
        while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<cell "):
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    except Exception:  # the code may define exceptions that cannot be shown
        return type(error).__name__
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        text = text.replace(folder + os.sep, "")
    if len(text) > MAX_TRACEBACK:
        text = text[: MAX_TRACEBACK // 4] + "\n[...]\n" + text[-MAX_TRACEBACK * 3 // 4 :]
    return text.encode("utf-8", "replace").decode()


def restrict(kind: int, limit: int) -> None:
    """Lower a limit of this process and its children for good."""
    _, most = resource.getrlimit(kind)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(kind, (limit, limit))


def send(pipe: int, text: str) -> None:
    """Write a reply."""
    data = text.encode()
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(pipe, data) :]


def main() -> None:
    """Fork the worker off, and watch it."""
    memory, processes, files = map(int, sys.argv[1:])
    limits = {"memory": memory, "processes": processes, "files": files}
    worker = os.fork()
    if worker:
        os._exit(watch(worker, limits))
    Worker(limits).serve()


main()
