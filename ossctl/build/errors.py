"""The error of a build."""


class BuildError(Exception):
    """A build that cannot start or that failed; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
