"""Stage models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aipl import _core
from aipl._arguments import text, type_error
from aipl._errors import ModelError, SourceError
from aipl._plain import plain

__all__ = ["StageModel"]


class StageModel:
    """Ordered, exclusive stages over rules on behavior: the highest stage whose rule holds at the close of a day is the label.

    Made by `preset`, `from_toml`, `from_dict` or `from_json`. Immutable; compares by value; can be pickled.

    Notes
    -----
    Definition and format: the docs pages "Stages", "Models" and "Stage models". Presets follow public descriptions of the platforms; every value
    that no public source gives is marked `[unsourced]` by `describe`.

    Examples
    --------
    >>> model = aipl.StageModel.preset("databank")
    >>> model
    StageModel('databank', version 1: A, I, P, L of a brand)
    >>> model.stages
    ['A', 'I', 'P', 'L']
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: _core.StageModel) -> None:
        if not isinstance(inner, _core.StageModel):
            raise TypeError("make a StageModel by StageModel.preset, from_toml, from_dict or from_json")
        self._inner = inner

    @staticmethod
    def presets() -> list[str]:
        """Names of the models that come with the package.

        Examples
        --------
        >>> "databank" in aipl.StageModel.presets()
        True
        """
        return _core.StageModel.presets()

    @classmethod
    def preset(cls, name: str) -> StageModel:
        """A model that comes with the package.

        Raises
        ------
        ModelError
            If there is none of this name; the message lists them.

        Examples
        --------
        >>> aipl.StageModel.preset("databnk")
        Traceback (most recent call last):
            ...
        aipl.ModelError: no preset "databnk"; did you mean "databank"?...
        """
        return cls(_core.StageModel.preset(text("name", name)))

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str]) -> StageModel:
        """Read a model from TOML.

        Parameters
        ----------
        source : str or os.PathLike
            A `str` is the text itself; a `pathlib.Path` is the file to read.

        Raises
        ------
        ModelError
            If it is no TOML, or no model; the message begins with the path of what is wrong.
        SourceError
            If the file cannot be read.

        Examples
        --------
        >>> aipl.StageModel.from_toml(model.to_toml()) == model
        True
        """
        if isinstance(source, os.PathLike):
            try:
                source = Path(source).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ModelError(f"{os.fspath(source)}: not UTF-8 text: {error}") from error
            except OSError as error:
                raise SourceError(f"{os.fspath(source)}: {error.strerror or error}") from error
        return cls(_core.StageModel.from_toml(text("source", source)))

    @classmethod
    def from_json(cls, source: str) -> StageModel:
        """Read a model from JSON text. Errors are those of `from_toml`.

        Examples
        --------
        >>> aipl.StageModel.from_json(model.to_json()) == model
        True
        """
        return cls(_core.StageModel.from_json(text("source", source)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StageModel:
        """Read a model from plain data: the tables and lists of the TOML form as dicts and lists.

        Raises
        ------
        ModelError
            With the path of what is wrong.

        Examples
        --------
        >>> aipl.StageModel.from_dict({"id": "m", "stage": [
        ...     {"code": "A", "name": "aware", "any": [{"behaviors": ["view"]}]},
        ...     {"code": "B", "name": "buyer", "any": [{"behaviors": ["purchase"], "days": 0}]}]})
        Traceback (most recent call last):
            ...
        aipl.ModelError: stage[1].any[0].days: 0 is not ≥ 1
        """
        if not isinstance(data, Mapping):
            raise type_error("data", "a dict", data)
        try:
            written = json.dumps(dict(data), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ModelError(f"the model is no plain data: {error}") from None
        return cls(_core.StageModel.from_json(written))

    def to_toml(self) -> str:
        """The model as TOML text."""
        return self._inner.to_toml()

    def to_json(self) -> str:
        """The model as JSON text."""
        return self._inner.to_json()

    def to_dict(self) -> dict[str, Any]:
        """The model as plain data.

        Examples
        --------
        >>> model.to_dict()["stage"][2]["name"]
        'purchase'
        """
        data: dict[str, Any] = json.loads(self._inner.to_json())
        return data

    def describe(self) -> str:
        """The model in words: stages from the highest, their rules, and where each value comes from.

        Examples
        --------
        >>> print(model.describe())  # doctest: +ELLIPSIS
        databank (version 1)...
        L loyalty 忠诚
        ...
        """
        return self._inner.describe()

    @property
    def id(self) -> str:
        """The model's name."""
        return self._inner.id

    @property
    def version(self) -> int:
        """The model's version."""
        return self._inner.version

    @property
    def scope(self) -> str:
        """What the stages are about: `"brand"`, `"category"` (of a brand) or `"store"`."""
        return self._inner.scope

    @property
    def stages(self) -> list[str]:
        """Codes of the stages, lowest first."""
        return [code for code, _ in self._inner.stages]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StageModel) and self._inner == other._inner

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, ...]:
        return StageModel.from_json, (self.to_json(),)

    def __repr__(self) -> str:
        about = "brand and category" if self.scope == "category" else self.scope
        return f"StageModel({self.id!r}, version {self.version}: {plain(', '.join(self.stages))} of a {about})"
