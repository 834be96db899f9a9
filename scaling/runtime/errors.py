"""What ends a command in one line on stderr: input that is wrong (exit code 2), a disk that fails (1)."""


class BadInputError(Exception):
    """Input that a person typed and can mend.

    `str()` of it is one line that names the field, the value and what would be accepted. The command line
    prints that line and exits with 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class StorageError(Exception):
    """A disk or bucket that could no longer be written, in the midst of work; in one line.

    What was written before is whole: once there is room or access again, the same command goes on.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
