"""The one exception a user is meant to read: what was received, and what to do."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """A mistake in data, settings or files that the user can repair.

    The command line prints its text as one sentence and exits with code 2.
    """


class DivergedError(InputError):
    """A training whose loss or predictions are no finite numbers; where learning rates compete, such a one loses."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question that names the known word that is most like a misspelt one; nothing where none is like it."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def exit_code(program: str, job: Callable[[], None]) -> int:
    """Do a job and tell what went wrong in one sentence, without a traceback, where the user can repair it.

    Args:
        program: name in front of the sentence.
        job: what to do.

    Returns:
        0 when done; 2 after a mistake that the user can repair; 130 after Ctrl-C.
    """
    try:
        job()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{program}: stopped. The same command goes on where it was.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        print(f"{program}: cannot write {error.filename or 'a file'}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0
