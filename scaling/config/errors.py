"""The one exception that means "the input is wrong": it becomes one line on stderr and exit code 2."""


class BadInputError(Exception):
    """Input that a person typed and can mend.

    `str()` of it is one line that names the field, the value and what would be accepted. The command line
    prints that line and exits with 2; nothing else in the package turns an error into an exit.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
