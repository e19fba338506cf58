"""The one error type for mistakes that the user can mend, and the warning of what was taken as it is."""


class UserError(Exception):
    """Say where a mistake is, what is wrong and what would work, each on one line."""

    def __init__(self, where: str, *problems: str):
        self.where = where
        self.problems = problems
        super().__init__("\n".join(f"{where}: {problem}" if where else problem for problem in problems))


class DataWarning(UserWarning):
    """Say what is odd in the user's input, and what was done about it; the command line prints it as one line."""


def did_you_mean(name: str, known: list[str]) -> str:
    """Suggest the closest of `known`, or list them all: '; did you mean ...?' or '; choose one of ...'."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; choose one of {', '.join(map(str, known))}" if known else ""
