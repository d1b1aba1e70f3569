"""Promises of `save` and `load`: everything comes back, nothing in the file is run."""

import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import sympy
from numpy.testing import assert_array_equal
from sklearn.base import clone

import discoverers
from discoverers.codec import Decoder, Encoder
from discoverers.equations import Equations
from discoverers.libraries import CustomLibrary, PolynomialLibrary
from tests.toy_discoverer import ToyDiscoverer

T = np.linspace(0, 6, 61)
X = np.column_stack([np.cos(T), -np.sin(T)])


class Elsewhere(ToyDiscoverer):
    """A class that an unrelated file must not turn into."""


def round_trip(value):
    encoder = Encoder()
    text = json.dumps(encoder.encode(value, "value"), allow_nan=False)
    return Decoder(encoder.arrays).decode(json.loads(text))


def fitted(**data):
    return ToyDiscoverer(degree=2).fit(T, pd.DataFrame(X, columns=["x", "my rate"]), **data)


@pytest.mark.parametrize(
    "estimator",
    [
        fitted(),
        fitted(u=T**2),
        fitted(trajectory=np.repeat(["a", "b"], [30, 31])),
        ToyDiscoverer(time_unit="h").fit(pd.date_range("2020", periods=61, freq="h"), X[:, 0]),
        ToyDiscoverer().fit(pd.DataFrame({"time": T}), X),
        ToyDiscoverer(degree=3, on_failure="raise"),
    ],
    ids=["plain", "inputs", "ids", "dates", "names", "unfitted"],
)
def test_what_was_saved_comes_back(estimator, tmp_path):
    estimator.save(tmp_path / "model.zip")
    for copy in (
        ToyDiscoverer.load(tmp_path / "model.zip"),
        discoverers.load(str(tmp_path / "model.zip")),
    ):
        assert type(copy) is ToyDiscoverer
        assert copy.get_params() == estimator.get_params()
        assert vars(copy).keys() == vars(estimator).keys()
        if not hasattr(estimator, "equations_"):
            continue
        assert copy.equations_ == estimator.equations_
        assert copy.terms_ == estimator.terms_
        assert copy.state_names_ == estimator.state_names_
        assert copy.training_data_ == estimator.training_data_
        for name in ("coef_", "coef_std_", "noise_std_", "x0_"):
            assert_array_equal(getattr(copy, name), getattr(estimator, name))
        pd.testing.assert_frame_equal(copy.history_, estimator.history_)
        plain = [column for column in copy.pareto_front_ if column != "lambda_format"]
        pd.testing.assert_frame_equal(copy.pareto_front_[plain], estimator.pareto_front_[plain])
        function = copy.pareto_front_["lambda_format"].iloc[0]
        states, inputs = np.ones((2, len(copy.state_names_))), np.ones((2, len(copy.input_names_)))
        assert_array_equal(
            function(states, inputs),
            estimator.pareto_front_["lambda_format"].iloc[0](states, inputs),
        )
        assert getattr(copy, "feature_names_in_", None) == getattr(
            estimator, "feature_names_in_", None
        )


def test_predictions_of_a_loaded_estimator_are_the_same_to_the_last_bit(tmp_path):
    estimator = ToyDiscoverer().fit(T, X)
    estimator.save(tmp_path / "model.zip")
    times = np.linspace(-1, 8, 50)
    loaded = ToyDiscoverer.load(tmp_path / "model.zip")
    assert_array_equal(loaded.predict(times), estimator.predict(times))
    assert loaded.score(T, X) == estimator.score(T, X)
    assert clone(loaded).fit(T, X).equations_ == estimator.equations_


def test_the_same_estimator_gives_the_same_bytes(tmp_path):
    estimator = ToyDiscoverer().fit(T, X)
    for name in ("one", "two"):
        estimator.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_file_is_json_and_safetensors_and_no_pickle(tmp_path):
    fitted().save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert sorted(archive.namelist()) == ["arrays.safetensors", "estimator.json"]
        document = json.loads(archive.read("estimator.json"))
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, KeyError)):
            pickle.loads(archive.read("arrays.safetensors"))
    assert document["format"] == "discoverers.estimator/1"


def test_user_functions_cannot_be_saved_and_the_old_file_survives(tmp_path):
    path = tmp_path / "model.zip"
    ToyDiscoverer().save(path)
    before = path.read_bytes()
    estimator = ToyDiscoverer(failing=lambda x: x)
    with pytest.raises(TypeError, match=r"parameter failing cannot be saved.*never stores"):
        estimator.save(path)
    estimator = ToyDiscoverer(failing=[CustomLibrary([lambda x: x])])
    with pytest.raises(TypeError, match=r"parameter failing\[0\].functions\[0\] cannot be saved"):
        estimator.save(path)
    with pytest.raises(TypeError, match="no way is known to store a object"):
        ToyDiscoverer(failing=object()).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        ToyDiscoverer().save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder .*none'; make it first"):
        ToyDiscoverer().save(tmp_path / "none" / "model.zip")
    assert list(tmp_path.iterdir()) == []


def edited(tmp_path, change):
    source, target = tmp_path / "model.zip", tmp_path / "edited.zip"
    ToyDiscoverer().fit(T, X).save(source)
    with zipfile.ZipFile(source) as archive:
        document = json.loads(archive.read("estimator.json"))
        arrays = archive.read("arrays.safetensors")
    change(document)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("estimator.json", json.dumps(document))
        archive.writestr("arrays.safetensors", arrays)
    return target


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["class"], "os:system", "not defined"),
        (["class"], "discoverers.libraries:PolynomialLibrary", "not defined"),
        (["class"], "discoverers.no_such_module:Thing", "not defined"),
        (["class"], "tests.test_persistence:json", "not defined"),
        (["format"], "discoverers.estimator/99", "this version reads"),
        (["parameters", "degree"], {"$": "pickle"}, "unknown kind 'pickle'"),
        (["parameters", "degree"], {"$": "object", "class": "os:system", "content": {}}, "os"),
        (
            ["parameters", "degree"],
            {"$": "object", "class": "discoverers.persistence:Path", "content": {}},
            "not allowed",
        ),
        (
            ["parameters", "degree"],
            {"$": "expr", "text": "__import__('os')", "symbols": {}},
            "cannot read",
        ),
        (
            ["fitted", "equations_", "data", "right_hand_sides"],
            ["(lambda: 1)()", "1"],
            "cannot read",
        ),
    ],
)
def test_a_file_cannot_make_load_run_or_import_anything(tmp_path, keys, value, message):
    def change(document):
        place = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    with pytest.raises(ValueError, match=message):
        discoverers.load(edited(tmp_path, change))


def test_files_that_are_no_estimators_are_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="no saved estimator"):
        discoverers.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        discoverers.load(tmp_path / "missing")
    Elsewhere().save(tmp_path / "other")
    assert isinstance(ToyDiscoverer.load(tmp_path / "other"), Elsewhere)
    ToyDiscoverer().save(tmp_path / "toy")
    with pytest.raises(ValueError, match="holds a ToyDiscoverer, not a Elsewhere"):
        Elsewhere.load(tmp_path / "toy")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -0.1,
        float("inf"),
        "text",
        [1, [2.5, None]],
        (1, ("a", 2)),
        {1, 2},
        frozenset({"a"}),
        {"a": 1, "b": (2,)},
        {1: "x", ("a", 2): None},
        {"$": "not a tag"},
        np.datetime64("2020-01-01T00:00:01"),
        pd.Timestamp("2020-01-01", tz="Europe/Paris"),
        sympy.Symbol("my rate") ** 2 / 3 + sympy.sin(sympy.Symbol("x")),
        Equations(["0.1*x"], ["x"]),
        CustomLibrary(["x*y", sympy.Symbol("x") ** 5]),
        PolynomialLibrary(degree=2) + PolynomialLibrary(degree=1),
    ],
    ids=repr,
)
def test_values_come_back_equal_and_of_the_same_type(value):
    copy = round_trip(value)
    assert type(copy) is type(value)
    if hasattr(value, "get_params"):
        assert repr(copy) == repr(value)
    else:
        assert copy == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.array([[np.nan, np.inf]]),
        np.array(3.5),
        np.empty((0, 2)),
        np.array([True, False]),
        np.arange(3, dtype=np.int8),
        np.array(["a", "bc"]),
        np.array(["a", None, 2], dtype=object),
        np.array(["2020-01-01", "NaT"], dtype="datetime64[us]"),
        np.arange(3, dtype=">f8"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_to_the_last_bit(array):
    copy = round_trip(array)
    assert copy.shape == array.shape
    assert copy.dtype == array.dtype.newbyteorder("=")
    assert_array_equal(copy, array)


def test_complex_arrays_are_refused_by_name():
    with pytest.raises(TypeError, match="value cannot be saved: it is an array of dtype complex"):
        round_trip(np.array([1j]))


def test_frames_come_back_with_names_types_and_index():
    frame = pd.DataFrame(
        {"n": [1, 2], "x": [0.5, np.nan], "s": ["a", "b"], 3: [None, (1,)], "b": [True, False]}
    )
    pd.testing.assert_frame_equal(round_trip(frame), frame)
    named = frame.set_index("s")
    copy = round_trip(named)
    assert list(copy.index) == ["a", "b"]
    assert round_trip(pd.DataFrame()).empty
