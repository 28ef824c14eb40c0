"""The signals that end a program in good order.

A handler of Python runs between any two steps of the main thread, inside a lock of `threading` too: setting an event
there may wait for ever for a lock that the same thread holds (python/cpython#126434). So Python only writes the
signal's number into a pipe, also while the main thread is somewhere in C, and a thread sets the event.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AGAIN_SECONDS = 0.05


def on_signals() -> threading.Event:
    """An event that is set at SIGTERM, SIGINT or SIGHUP, in the main thread of a program.

    What was ignored when the program started stays so: `nohup` says in this way that a hang-up ends nothing.
    """
    stop = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while os.read(reading, 1)[0] not in ENDS:
            continue
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # full, it says more than enough
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    return stop


@contextmanager
def in_order() -> Iterator[None]:
    """Leave what is done within by an exception at such a signal, so that it is undone; a second one changes nothing.

    For work that leaves something behind: what only looks is better ended by the system, however it is stuck.
    """
    before = {number: signal.getsignal(number) for number in ENDS}

    raised: dict[BaseException, int] = {}

    def leave(number: int, _: object) -> None:
        for each in ENDS:
            if signal.getsignal(each) is leave:
                signal.signal(each, lambda *_: None)
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        raised[error] = number
        raise error

    def listen() -> None:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, leave)

    def again(lost: "sys.UnraisableHookArgs") -> None:
        """Python drops what is raised while it deletes an object: then the signal comes once more, a little later."""
        if lost.exc_value in raised:
            listen()
            threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), raised[lost.exc_value])).start()
        else:
            hook(lost)

    hook = sys.unraisablehook
    try:
        sys.unraisablehook = again
        listen()
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
