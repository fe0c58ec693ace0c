"""The one exception a user is meant to read: what was received, and what to do."""


class InputError(ValueError):
    """A mistake in data, settings or files that the user can repair.

    The command line prints its text as one sentence and exits with code 2.
    """
