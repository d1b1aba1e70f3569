"""Outcome of a solve, one code per problem of a batch, whose text is advice."""

from __future__ import annotations

import warnings
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SolverError",
    "SolverStatus",
    "check_on_failure",
    "raise_for_status",
    "warn_not_converged",
    "warn_of_start",
]


class SolverStatus(IntEnum):
    """What became of one problem.

    All but ``NOT_POSITIVE_DEFINITE`` and ``NON_FINITE_INPUT`` come with an answer; for these two
    the problem's numbers are NaN wherever failures are returned instead of raised.

    Examples
    --------
    >>> SolverStatus(3).name
    'NOT_POSITIVE_DEFINITE'
    >>> SolverStatus.OK.failed
    False
    """

    OK = 0
    REFINED = 1
    ILL_CONDITIONED = 2
    NOT_POSITIVE_DEFINITE = 3
    NON_FINITE_INPUT = 4
    NOT_CONVERGED = 5
    INITIAL_VALUES_MISSED = 6
    UNDERDETERMINED = 7

    @property
    def failed(self) -> bool:
        """Whether the problem has no answer."""
        return self in (SolverStatus.NOT_POSITIVE_DEFINITE, SolverStatus.NON_FINITE_INPUT)

    @property
    def advice(self) -> str:
        """What the code means and what to do about it, in one sentence or two."""
        return _ADVICE[self]


_ADVICE = {
    SolverStatus.OK: "solved; nothing to do.",
    SolverStatus.REFINED: "solved; refinement with the residual changed the answer noticeably, "
    "and then converged.",
    SolverStatus.ILL_CONDITIONED: "solved, but digits were lost: read the answer with care. Let "
    "method='auto' or 'qr' solve it, use fewer or larger steps, better scaled weights, or more "
    "initial conditions.",
    SolverStatus.NOT_POSITIVE_DEFINITE: "no unique answer: some unknown is determined by no row, "
    "or rounding hides that it is. Add initial conditions (as many as the order of the ODE), check "
    "for zero weights and rows of c that are all zero, regularise, or try method='qr'.",
    SolverStatus.NON_FINITE_INPUT: "the input holds NaN or infinity, or its products overflow. "
    "Remove or mask those entries (NaN is allowed only in u, where it means 'not measured').",
    SolverStatus.NOT_CONVERGED: "the iteration stopped before its tolerance was met: the answer "
    "is the last iterate. Allow more iterations, loosen the tolerance, or use a direct method.",
    SolverStatus.INITIAL_VALUES_MISSED: "the answer does not start at the initial values, so it is "
    "not the solution that they mean. Steps are too long for the fastest solution of the equations "
    "(check that it changes little over a step), or solutions grow so much over these times that "
    "errors of the steps outgrow the start: take smaller steps or a shorter span. A method asked "
    "for may have lost digits too: let method='auto' choose.",
    SolverStatus.UNDERDETERMINED: "fewer initial values than the order of the equations: one of "
    "many solutions, picked by rounding and the length of the steps. Give more values in u.",
}


class SolverError(RuntimeError):
    """Raised when problems of a batch have no answer.

    Parameters
    ----------
    message : str
        What failed and what to do.
    status : array of int
        `SolverStatus` codes, one per problem, in the shape of the batch.
    """

    def __init__(self, message: str, status: NDArray[np.int64]) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[SolverError], tuple[str, NDArray[np.int64]]]:
        return type(self), (str(self), self.status)


def check_on_failure(on_failure: str) -> None:
    """Raise `ValueError` unless ``on_failure`` is "raise" or "status"."""
    if on_failure not in ("raise", "status"):
        raise ValueError(f"on_failure must be 'raise' or 'status', got {on_failure!r}.")


def raise_for_status(status: NDArray[np.int64], what: str = "solve") -> None:
    """Raise `SolverError` if any problem of the batch has no answer.

    Parameters
    ----------
    status : array of int, any shape
        `SolverStatus` codes.
    what : str
        The operation, for the message.

    Raises
    ------
    SolverError
        Naming the failed problems by their index in the batch, with the advice of the first.
    """
    if status.size == 0 or status.max() < 3:  # the common case, at little cost
        return
    failed = status >= int(SolverStatus.NOT_POSITIVE_DEFINITE)
    failed &= status <= int(SolverStatus.NON_FINITE_INPUT)
    if not np.any(failed):
        return
    where = np.argwhere(failed)
    shown = ", ".join(str(tuple(int(i) for i in index)) for index in where[:5])
    more = f" and {len(where) - 5} more" if len(where) > 5 else ""
    first = SolverStatus(int(status[tuple(where[0])]))
    which = f" at batch index {shown}{more}" if status.ndim else ""
    raise SolverError(
        f"{what} failed for {len(where)} of {status.size} problem(s){which}: "
        f"{first.name.lower()}: {first.advice}",
        status.copy(),
    )


def warn_of_start(status: NDArray[np.int64], what: str) -> None:
    """Give a `RuntimeWarning` if answers miss their initial values or had too few."""
    if status.max(initial=0) < SolverStatus.INITIAL_VALUES_MISSED:  # the common case
        return
    for code in (SolverStatus.INITIAL_VALUES_MISSED, SolverStatus.UNDERDETERMINED):
        if (status == code).any():
            # No numbers, which the status has: repeated solves shall not repeat the warning.
            warnings.warn(
                f"{what}: {code.name.lower()} (see the status of the solution): {code.advice}",
                RuntimeWarning,
                stacklevel=3,
            )


def warn_not_converged(converged: NDArray[np.bool_], what: str) -> None:
    """Give a `RuntimeWarning` if an iteration stopped before its tolerance was met."""
    late = int(converged.size - np.count_nonzero(converged))
    if late:
        warnings.warn(
            f"{what} did not converge for {late} of {converged.size} problem(s); raise "
            "max_iterations, or use a direct method.",
            RuntimeWarning,
            stacklevel=3,
        )
