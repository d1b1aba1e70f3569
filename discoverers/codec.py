"""Values to JSON and arrays, and back, over a closed set of types."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sympy.core.function import AppliedUndef

from .callables import EquationsFunction
from .equations import Equations
from .expressions import expression_text, parse_expression

__all__ = ["Decoder", "Encoder", "class_name"]

_OURS = re.compile(r"(discoverers|gpu_solver)(\.[a-z][a-z0-9_]*)*")
_TAG = "$"


def class_name(cls: type) -> str:
    """Name by which `Decoder.find_class` finds a class again."""
    return f"{cls.__module__}:{cls.__qualname__}"


class Encoder:
    """Encode values; arrays gather in `arrays`, everything else becomes JSON."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}

    def encode(self, value: Any, where: str) -> Any:
        """JSON form of a value; `where` names it in errors."""
        if isinstance(value, Enum):
            return {_TAG: "enum", "class": class_name(type(value)), "name": value.name}
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, np.generic) and value.dtype.kind in "biufU":
            return self.encode(value.item(), where)
        if isinstance(value, float):
            return value if math.isfinite(value) else {_TAG: "float", "value": repr(value)}
        if isinstance(value, pd.Timestamp):
            return {_TAG: "timestamp", "value": value.isoformat()}
        if isinstance(value, (np.datetime64, np.timedelta64)):
            dtype = value.dtype.str
            return {_TAG: "moment", "dtype": dtype, "value": int(value.astype(np.int64))}
        if isinstance(value, list):
            return [self.encode(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
        if isinstance(value, (tuple, set, frozenset)):
            kind = "tuple" if isinstance(value, tuple) else type(value).__name__
            return {_TAG: kind, "items": self.encode(list(value), where)}
        if isinstance(value, Mapping):
            return self._mapping(value, where)
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, pd.DataFrame):
            columns = [self.encode(value.iloc[:, i], where) for i in range(value.shape[1])]
            names = self.encode(list(value.columns), where)
            return {
                _TAG: "frame",
                "names": names,
                "columns": columns,
                "index": self.encode(pd.Series(value.index), where),
            }
        if isinstance(value, pd.Series):
            values = value.to_numpy()
            return {
                _TAG: "series",
                "dtype": str(value.dtype),
                "values": self.encode(values, where),
            }
        return self._own(value, where)

    def _own(self, value: Any, where: str) -> Any:
        if isinstance(value, Equations):
            data = value.to_dict()
            if data["functions"]:
                raise _function_error(where, data["functions"])
            return {_TAG: "equations", "data": data}
        if isinstance(value, EquationsFunction):
            if value.functions:
                raise _function_error(where, sorted(value.functions))
            return {
                _TAG: "function",
                "variables": [symbol.name for symbol in value.variables],
                "exprs": [self.encode(expr, where) for expr in value.exprs],
                "n_inputs": value.n_inputs,
                "backend": value.backend,
            }
        if type(value).__name__ == "PDEEquations":
            return {_TAG: "pde", "data": value.to_dict()}
        if isinstance(value, sympy.Expr) and value.has(AppliedUndef):
            return {_TAG: "field_expr", "data": _field_expression(value, where)}
        if isinstance(value, sympy.Expr):
            symbols = {s.name: f"v{i}" for i, s in enumerate(sorted(value.free_symbols, key=str))}
            try:
                text = expression_text(value, symbols)
            except ValueError as error:
                raise TypeError(f"{where} cannot be saved: {error}") from error
            return {
                _TAG: "expr",
                "text": text,
                "symbols": {alias: name for name, alias in symbols.items()},
            }
        ours = _OURS.fullmatch(type(value).__module__) is not None
        if ours and isinstance(value, BaseEstimator):
            content = value.get_params(deep=False)
        elif ours and is_dataclass(value) and not isinstance(value, type):
            content = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        elif callable(value):
            raise _function_error(where, [getattr(value, "__name__", repr(value))])
        else:
            raise TypeError(
                f"{where} cannot be saved: no way is known to store a {type(value).__name__}. "
                f"Set it to None, or keep the estimator with pickle."
            )
        return {
            _TAG: "object",
            "class": class_name(type(value)),
            "content": {
                name: self.encode(entry, f"{where}.{name}") for name, entry in content.items()
            },
        }

    def _mapping(self, value: Mapping[Any, Any], where: str) -> Any:
        if all(isinstance(key, str) and key != _TAG for key in value):
            return {key: self.encode(entry, f"{where}[{key!r}]") for key, entry in value.items()}
        items = [
            [self.encode(key, where), self.encode(entry, f"{where}[{key!r}]")]
            for key, entry in value.items()
        ]
        return {_TAG: "dict", "items": items}

    def _array(self, value: NDArray[Any], where: str) -> Any:
        shape = list(value.shape)
        if value.dtype.kind in "OU":
            items = [self.encode(entry, where) for entry in value.ravel().tolist()]
            return {_TAG: "items", "dtype": value.dtype.str, "shape": shape, "items": items}
        if value.dtype.kind not in "biufMm" or value.dtype.itemsize > 8:
            raise TypeError(f"{where} cannot be saved: it is an array of dtype {value.dtype}.")
        dtype = value.dtype.newbyteorder("=")
        stored = np.ascontiguousarray(value, dtype=dtype).ravel()
        key = f"a{len(self.arrays)}"
        self.arrays[key] = stored.view(np.int64) if dtype.kind in "Mm" else stored
        return {_TAG: "array", "key": key, "dtype": dtype.str, "shape": shape}


class Decoder:
    """Decode what `Encoder` made; the arrays are given."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    def decode(self, item: Any) -> Any:
        """Value of a JSON form; ValueError if its tag is unknown."""
        if isinstance(item, list):
            return [self.decode(entry) for entry in item]
        if not isinstance(item, dict):
            return item
        if _TAG not in item:
            return {key: self.decode(entry) for key, entry in item.items()}
        reader = getattr(self, f"_read_{item[_TAG]}", None)
        if reader is None:
            raise ValueError(f"the file holds a value of the unknown kind {item[_TAG]!r}.")
        return reader(item)

    def find_class(self, name: str, base: type) -> Any:
        """Class of a name, if it is one of ours or a defined subclass of `base`."""
        module, _, qualified = name.partition(":")
        if _OURS.fullmatch(module):
            try:
                found = getattr(import_module(module), qualified, None)
            except ImportError:
                found = None
        else:
            defined = set() if base is object else _subclasses(base)
            found = next((cls for cls in defined if class_name(cls) == name), None)
        if not isinstance(found, type) or not issubclass(found, base):
            raise ValueError(
                f"the file needs the class {name!r}, which is not defined. Import the module that "
                f"defines it, or the version of discoverers that wrote the file."
            )
        return found

    def _read_float(self, item: dict[str, Any]) -> float:
        return float(item["value"])

    def _read_tuple(self, item: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(self.decode(item["items"]))

    def _read_set(self, item: dict[str, Any]) -> set[Any]:
        return set(self.decode(item["items"]))

    def _read_frozenset(self, item: dict[str, Any]) -> frozenset[Any]:
        return frozenset(self.decode(item["items"]))

    def _read_dict(self, item: dict[str, Any]) -> dict[Any, Any]:
        return {self.decode(key): self.decode(entry) for key, entry in item["items"]}

    def _read_timestamp(self, item: dict[str, Any]) -> pd.Timestamp:
        return pd.Timestamp(item["value"])

    def _read_moment(self, item: dict[str, Any]) -> Any:
        return np.array(item["value"], dtype=np.int64).view(item["dtype"])[()]

    def _read_enum(self, item: dict[str, Any]) -> Any:
        return self.find_class(item["class"], Enum)[item["name"]]

    def _read_array(self, item: dict[str, Any]) -> NDArray[Any]:
        dtype = np.dtype(item["dtype"])
        stored = self.arrays[item["key"]]
        stored = stored.view(dtype) if dtype.kind in "Mm" else stored.astype(dtype, copy=False)
        return stored.reshape(item["shape"])

    def _read_items(self, item: dict[str, Any]) -> NDArray[Any]:
        array = np.empty(len(item["items"]), dtype=item["dtype"])
        for i, entry in enumerate(item["items"]):
            array[i] = self.decode(entry)
        return array.reshape(item["shape"])

    def _read_series(self, item: dict[str, Any]) -> pd.Series:
        return pd.Series(self.decode(item["values"]), dtype=item["dtype"])

    def _read_frame(self, item: dict[str, Any]) -> pd.DataFrame:
        columns = [self.decode(column) for column in item["columns"]]
        frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
        frame.columns = pd.Index(self.decode(item["names"]))
        index = self.decode(item["index"])
        simple = index.equals(pd.Series(range(len(index))))
        frame.index = pd.RangeIndex(len(index)) if simple else pd.Index(index)
        return frame

    def _read_equations(self, item: dict[str, Any]) -> Equations:
        return Equations.from_dict(item["data"])

    def _read_pde(self, item: dict[str, Any]) -> Any:
        from .pde import PDEEquations

        return PDEEquations.from_dict(item["data"])

    def _read_field_expr(self, item: dict[str, Any]) -> sympy.Expr:
        return self._read_pde(item)[0]

    def _read_function(self, item: dict[str, Any]) -> EquationsFunction:
        variables = [sympy.Symbol(name) for name in item["variables"]]
        exprs = [self.decode(expr) for expr in item["exprs"]]
        return EquationsFunction(variables, exprs, item["n_inputs"], {}, item["backend"])

    def _read_expr(self, item: dict[str, Any]) -> sympy.Expr:
        return parse_expression(item["text"], item["symbols"])

    def _read_object(self, item: dict[str, Any]) -> Any:
        cls = self.find_class(item["class"], object)
        if not (is_dataclass(cls) or issubclass(cls, BaseEstimator)):
            raise ValueError(f"the file holds an object of class {item['class']!r}: not allowed.")
        return cls(**{name: self.decode(entry) for name, entry in item["content"].items()})


def _field_expression(expr: sympy.Expr, where: str) -> dict[str, Any]:
    """An expression in fields u(x, t) and their derivatives, as the first of a system's sides."""
    from .pde import PDEEquations

    fields = sorted(expr.atoms(AppliedUndef), key=str)
    arguments = {field.args for field in fields}
    if len(arguments) != 1 or len(fields[0].args) != 2:
        raise _function_error(where, sorted({field.func.__name__ for field in fields}))
    space, time = (argument.name for argument in fields[0].args)
    sides = [expr] + [sympy.Integer(0)] * (len(fields) - 1)
    names = [field.func.__name__ for field in fields]
    return PDEEquations(sides, names, space, time).to_dict()


def _function_error(where: str, names: list[str]) -> TypeError:
    return TypeError(
        f"{where} cannot be saved: it holds the Python function(s) {names}, and save never stores "
        f"code. Write the terms as text or SymPy expressions, or keep the estimator with pickle."
    )


def _subclasses(base: type) -> set[type]:
    direct: set[type] = set(type.__subclasses__(base))
    return direct.union(*(_subclasses(cls) for cls in direct))
