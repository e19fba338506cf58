"""The error for mistakes that the user can fix, the warning about unusual input, and parts of their messages."""


class UserError(Exception):
    """An error that the user can fix: where it is, what is wrong and what would work, one problem per line."""

    def __init__(self, where: str, *problems: str):
        self.where = where
        self.problems = problems
        super().__init__("\n".join(f"{where}: {problem}" if where else problem for problem in problems))

    def __reduce__(self) -> tuple:
        """Send the error to another process as it is."""
        return type(self), (self.where, *self.problems)


class DataWarning(UserWarning):
    """A warning about unusual input and how it was handled. The command line prints it on one line."""


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: '1 example', '2,000 examples'."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def did_you_mean(name: str, known: list[str]) -> str:
    """Return '; did you mean ...?' with the closest of `known`, or '; choose one of ...' with all of them."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; choose one of {', '.join(map(str, known))}" if known else ""
