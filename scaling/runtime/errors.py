"""Errors that end a command with one line on stderr: bad input (exit code 2), storage that fails (1)."""


class BadInputError(Exception):
    """Input that the user can correct.

    The message is one line that names the field, the value and what would be accepted. The command line
    prints it and exits with 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class StorageError(Exception):
    """A disk or bucket that can no longer be written; the message is one line.

    Earlier files are complete: once there is room or access again, the same command resumes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
