"""What all commands of the command line share: errors on one line, help with the program's name, `--verbose`."""

import contextlib
import errno
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import click

from pipelines.errors import DataWarning, UserError
from pipelines.terminal import program, visible

PATH_CHARACTERS = 160  # longer paths are cut in error messages
BeforeTensorFlow = Callable[[dict[str, Any]], bool]  # arguments -> whether TensorFlow is not needed
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def verb(
    function: Callable, keras: bool = True, before_tensorflow: BeforeTensorFlow = lambda arguments: False
) -> Callable:
    """Add `--verbose` to a command, silence TensorFlow, and exit with code 1 and a short message on a user error.

    `before_tensorflow` is called with the arguments before TensorFlow is imported, because that takes seconds. It
    returns whether TensorFlow is not needed.
    """
    code = click.option(
        "--code",
        multiple=True,
        metavar="FILE",
        help="Load your own models or tasks from this Python file. Repeatable.",
    )

    @click.option("--verbose", is_flag=True, help="Show TensorFlow's startup messages.")
    @(code if keras else lambda wrapped: wrapped)
    @functools.wraps(function)
    def wrapped(verbose: bool, code: tuple[str, ...] = (), **arguments: object) -> None:
        from pipelines.extensions import load_code
        from pipelines.tensorflow_startup import import_tensorflow, output_refused

        try:
            with warnings_shown():
                if not before_tensorflow({**arguments, "verbose": verbose}) or code:
                    import_tensorflow(verbose, keras)
                    load_code(code)
                function(**arguments)
        except UserError as error:
            for line in str(error).splitlines():
                click.echo(visible(f"error: {line}"), err=True)
            sys.exit(1)
        except OSError as error:
            if output_refused(error):
                problem = f"standard output: cannot be written ({error.strerror})"
            elif error.errno == errno.ENAMETOOLONG:
                problem = f"{str(error.filename)[:PATH_CHARACTERS]} ...: {error.strerror}"
            else:
                raise
            click.echo(visible(f"error: {problem}"), err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo(
                "interrupted; to continue training, a search or a comparison, use train, tune or compare with --resume;"
                " diagnose continues by itself",
                err=True,
            )
            sys.exit(130)

    return wrapped


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """Print each `DataWarning` on one line of stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
        yield


def _show_warning(show: Callable, message: Warning, category: type[Warning], *place: object) -> None:
    if issubclass(category, DataWarning):
        click.echo(visible(f"warning: {message}"), err=True)
    else:
        show(message, category, *place)


class Command(click.Command):
    """A command whose help shows the program name that the user typed."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Replace `{program}` with the program's name."""
        self.help = (self.help or "").replace("{program}", program())
        super().format_help_text(ctx, formatter)


class Group(Command, click.Group):
    """The group of all commands."""

    command_class = Command
