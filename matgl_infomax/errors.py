"""The one exception a user is meant to read: what was received, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType


class InputError(ValueError):
    """A mistake in data, settings or files that the user can repair.

    The command line prints its text as one sentence and exits with code 2.
    """


class DivergedError(InputError):
    """A training whose loss or predictions are no finite numbers; where learning rates compete, such a one loses."""


class KeywordError(InputError, TypeError):
    """A keyword that a function of the API does not have; also a TypeError, as for any Python function."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question that names the known word that is most like a misspelt one; nothing where none is like it."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def exit_code(
    program: str, job: Callable[[], None], kept: Callable[[], str] = lambda: "The same command goes on where it was."
) -> int:
    """Do a job and tell what went wrong in one sentence, without a traceback, where the user can repair it.

    Args:
        program: name in front of the sentence.
        job: what to do.
        kept: says after Ctrl-C what is there, and how to go on from it.

    Returns:
        0 when done; 2 after a mistake that the user can repair; 130 after Ctrl-C, or where the terminal or the queue
        ends the job; 141 where nobody reads the output any more.
    """
    _open_streams()
    try:
        with _stoppable():
            job()
            sys.stdout.flush()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{program}: stopped. {kept()}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _silence()
        return 141
    except RuntimeError as error:
        if "home directory" not in str(error):
            raise
        print(f"{program}: no home folder is known. Set HOME to a folder, and give --cache.", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        print(f"{program}: cannot write {error.filename or 'a file'}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0


def _open_streams() -> None:
    """Give a process that was started without output somewhere to write: bars and messages need it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - stays open to the end


def _silence() -> None:
    """Write nothing more: else the interpreter complains of the closed pipe once again on its way out."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Within the block, the end of a queue's time or of a terminal stops the job as Ctrl-C does."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a child process ends at once, without a word
            os._exit(128 + number)
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    # What is ignored, as by nohup, or handled already, stays as it is.
    changed = [number for number in numbers if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
