"""The one error of the command line."""


class CommandLineError(Exception):
    r"""Something that the user can mend, told in one line.

    Parameters
    ----------
    message : str
        What is wrong, where, and what to do. Line breaks are taken out.
    exit_code : int, default=2
        2 for arguments and files, 1 for a computation that failed.

    Examples
    --------
    >>> from discoverers.commandline import CommandLineError
    >>> print(CommandLineError("no file\n  data.csv"))
    no file data.csv
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
