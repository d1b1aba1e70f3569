"""Command line: ``python -m discoverers fit data.csv --time t``."""

import argparse
import os
import sys
from collections.abc import Sequence

from discoverers import __version__
from discoverers.commandline import CommandLineError, FitRequest, run_fit

_EXAMPLES = """\
examples:
  python -m discoverers fit lorenz.csv
  python -m discoverers fit tank.csv --time seconds --states level --inputs flow --library poly2
  python -m discoverers fit runs.csv --trajectory-column run --library poly3+fourier --out result/

The file is a table with one header line, separated by commas, semicolons or tabs. An empty cell (or
NaN) is a state that was not measured. Lines that begin with # are comments.
"""


class _Parser(argparse.ArgumentParser):
    """Report a wrong argument in one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print the message and leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (try --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands.

    Returns
    -------
    argparse.ArgumentParser
        The parser.

    Examples
    --------
    >>> from discoverers.__main__ import build_parser
    >>> build_parser().parse_args(["fit", "data.csv", "--states", "x,y"]).states
    ['x', 'y']
    """
    parser = _Parser(
        prog="python -m discoverers",
        description="Governing equations from measured time series.",
        epilog="python -m discoverers fit --help explains the command.",
    )
    parser.add_argument("--version", action="version", version=f"discoverers {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    fit = commands.add_parser(
        "fit",
        help="find the equations of a table of measurements",
        description="Find the equations of a table of measurements and print them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.add_argument("file", metavar="FILE", help="table of measurements, or - for standard input")
    fit.add_argument(
        "--time",
        default="t",
        metavar="COLUMN",
        help="column of times: numbers or ISO dates (default: %(default)s)",
    )
    fit.add_argument(
        "--states",
        type=_names,
        metavar="X,Y",
        help="columns of measured states (default: all columns that no other option names)",
    )
    fit.add_argument(
        "--inputs",
        type=_names,
        default=[],
        metavar="U,V",
        help="columns of known inputs, which drive the states but get no equation",
    )
    fit.add_argument(
        "--trajectory-column",
        metavar="COLUMN",
        help="column whose value tells the runs apart, where the table has several",
    )
    fit.add_argument(
        "--library",
        default="poly3",
        metavar="TERMS",
        help="candidate terms, such as poly2, poly3+fourier or poly1*fourier2, or auto, which goes "
        "on to textbook functions where polynomials do not do (default: %(default)s)",
    )
    fit.add_argument(
        "--estimator",
        choices=["smnn", "mnn-dense"],
        default="smnn",
        help="smnn, the scalable solver, or mnn-dense, the original dense one for short records "
        "(default: %(default)s)",
    )
    fit.add_argument(
        "--time-unit",
        default="s",
        choices=["ns", "us", "ms", "s", "min", "h", "d"],
        help="unit that dates are counted in (default: %(default)s); numbers are used as they are",
    )
    fit.add_argument(
        "--out",
        metavar="FOLDER",
        help="also write equations.txt, equations.tex, equations.json, fitted.csv and fit.png here",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; the default are those of the process.

    Returns
    -------
    int
        Exit code: 0 for success, 1 if no equations could be found, 2 for something wrong with the
        arguments or the file, 130 if interrupted.

    Examples
    --------
    >>> from discoverers.__main__ import main
    >>> main(["fit", "none.csv"])
    2
    """
    options = build_parser().parse_args(argv)
    request = FitRequest(
        file=options.file,
        time=options.time,
        states=options.states,
        inputs=options.inputs,
        trajectory_column=options.trajectory_column,
        library=options.library,
        estimator=options.estimator,
        time_unit=options.time_unit,
        out=options.out,
    )
    try:
        run_fit(request)
        sys.stdout.flush()
    except CommandLineError as error:
        print(f"discoverers: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("discoverers: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (such as head) has seen enough; without this Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _names(text: str) -> list[str]:
    """Split a list of column names at its commas."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
