"""Reading what a fitted estimator is asked: whether columns and runs are those of the fit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from .coercion import is_runs, reject_sparse, shape_of
from .discovery import TrainingData
from .runs import RawRun, Runs, read_runs

__all__ = ["Questions", "inputs_missing"]


class Questions:
    """Mixin that checks times, measurements, inputs and ids against those of `fit`."""

    training_data_: TrainingData
    channel_names_: tuple[str, ...]
    input_names_: tuple[str, ...]
    n_features_in_: int
    trajectory_column: Hashable | None

    _column_prefix: ClassVar[str] = "x"

    def _feature_tables(self, t: Any) -> list[Any]:
        """`t` as 2-D tables for scikit-learn's bookkeeping of columns; rows are not looked at."""
        tables = []
        for entry in t if is_runs(t) else [t]:
            reject_sparse(entry, "t")
            table, shape = entry, shape_of(entry, "t")
            if isinstance(entry, pd.DataFrame):
                if self.trajectory_column is not None:
                    table = entry.drop(columns=self.trajectory_column, errors="ignore")
            elif len(shape) < 2:
                # The name of a Series or an Index says nothing about columns.
                table = np.empty((0, 1))
            else:
                table = np.empty((0, shape[1]))
            tables.append(table)
        return tables

    def _check_features(self, t: Any, u: Any = None) -> None:
        """Compare the columns of `t` with those of `fit`, with scikit-learn's messages."""
        entries = t if is_runs(t) else [t]
        for entry, table in zip(entries, self._feature_tables(t), strict=True):
            if len(shape_of(entry, "t")) < 2:
                if self.n_features_in_ > 1 and u is None:
                    raise ValueError(
                        f"Expected 2D array, got 1D array instead: t had {self.n_features_in_} "
                        f"columns (time and inputs) in fit. Reshape your data to "
                        f"(n, {self.n_features_in_}), or pass the inputs as u=."
                    )
                continue
            validate_data(cast(BaseEstimator, self), table, reset=False, skip_check_array=True)

    def _read(self, t: Any, X: Any = None, *, with_states: bool = False, **arguments: Any) -> Runs:
        """Read rows to answer, and check that states and inputs are those of `fit`."""
        raw = read_runs(
            t,
            X,
            trajectory_column=self.trajectory_column,
            clock=self.training_data_.clock,
            with_states=with_states,
            prefix=self._column_prefix,
            **arguments,
        )
        if with_states:
            names = self.channel_names_
            if len(raw.state_names) != len(names):
                raise ValueError(
                    f"X has {len(raw.state_names)} column(s), but the estimator was fitted with "
                    f"{len(names)} {list(names)}."
                )
            self._check_names(raw.state_names if raw.states_named else None, names, "X")
        if raw.input_names:
            if len(raw.input_names) != len(self.input_names_):
                raise ValueError(
                    f"{len(raw.input_names)} input(s) were given, but the estimator was fitted "
                    f"with {len(self.input_names_)} {list(self.input_names_)}."
                )
            self._check_names(raw.input_names if raw.inputs_named else None, self.input_names_, "u")
        return raw

    def _check_names(
        self, given: Sequence[str] | None, expected: Sequence[str], argument: str
    ) -> None:
        # Names that fit numbered itself bind nobody.
        prefix = self._column_prefix if argument == "X" else "u"
        numbered = tuple(f"{prefix}{i}" for i in range(len(expected)))
        if given and tuple(expected) != numbered and tuple(given) != tuple(expected):
            raise ValueError(
                f"{argument} has the columns {list(given)}, but the estimator was fitted with "
                f"{list(expected)}. Pass the same columns in the same order."
            )

    def _require_inputs(self, run: RawRun) -> None:
        if run.u.shape[1] < len(self.input_names_):
            raise ValueError(inputs_missing(self.input_names_))

    def _match(self, raw: Runs, method: str, *, allow_unknown: bool = False) -> list[int | None]:
        """Index of the training run that each run is; None for a run that `fit` did not see."""
        known = self.training_data_
        if raw.form == "ids":
            matched = [
                known.ids.index(run.id) if run.id in known.ids and known.form != "array" else None
                for run in raw.runs
            ]
            unknown = [run.id for run, i in zip(raw.runs, matched, strict=True) if i is None]
            if unknown and not allow_unknown:
                raise ValueError(
                    f"trajectory id(s) {unknown} were not in fit, so {method} cannot know where "
                    f"those runs are. Pass their initial states as x0=, or ids of {_ids(known)}."
                )
            return list(matched)
        if known.form == "ids":
            raise ValueError(
                f"fit was given trajectory ids ({_ids(known)}), {method} was not. Pass "
                f"trajectory= (or the column), or x0=."
            )
        if len(raw.runs) != len(known.ids):
            raise ValueError(
                f"{method} got {len(raw.runs)} run(s), but fit had {len(known.ids)}, so they "
                f"cannot be matched by position. Pass x0= to simulate new runs, or trajectory= "
                f"with the positions of the runs meant."
            )
        return list(range(len(raw.runs)))


def inputs_missing(names: Sequence[str]) -> str:
    """Text for a question that needs inputs and came without."""
    return (
        f"u: the equations have the input(s) {list(names)}, which are needed outside the span of "
        f"the training data. Pass them as u= (or as further columns of t, if fit had them there)."
    )


def _ids(known: TrainingData) -> str:
    shown = ", ".join(repr(entry) for entry in known.ids[:5])
    return shown + (", ..." if len(known.ids) > 5 else "")
