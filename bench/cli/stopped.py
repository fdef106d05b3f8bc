"""What a signal raises in a command; imports nothing, since signals come during imports as well."""

STOPPED = "bench: stopped. What finished is stored; the same command goes on."


class Stopped(BaseException):
    """A signal asked the command to end. number: of the signal. said: the line that it ends with.

    No KeyboardInterrupt: the command-line library would answer that one in its own way.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.said = STOPPED
