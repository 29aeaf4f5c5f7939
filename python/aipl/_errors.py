"""The exceptions and the warning of the package."""

from __future__ import annotations

from aipl._plain import plain

__all__ = [
    "AiplError",
    "AudienceError",
    "ColumnNotFoundError",
    "CorruptStoreError",
    "FormatVersionError",
    "IdentityError",
    "InternalError",
    "LimitError",
    "LostDataWarning",
    "MemoryLimitError",
    "ModelError",
    "NoSpaceError",
    "ParameterError",
    "RejectedRowsError",
    "RejectedRowsWarning",
    "SchemaError",
    "SourceError",
    "StoreError",
    "StoreLockedError",
    "UniverseMismatchError",
]


class AiplError(Exception):
    """Every refusal of this package; catch it to catch them all."""

    def __str__(self) -> str:
        # Names of files and columns are foreign text, and a traceback goes to a terminal.
        return plain(super().__str__(), keep="\n")


class SchemaError(AiplError):
    """An `EventSchema` that is wrong in itself, or does not fit the data. The message names the field or the column."""


class ColumnNotFoundError(SchemaError, KeyError):
    """The data has no column of a mapped name. The message names the nearest column and lists all of them."""

    def __str__(self) -> str:
        # A KeyError shows the repr of its argument, which is right for a key and wrong for a sentence.
        return plain(self.args[0] if len(self.args) == 1 else Exception.__str__(self), keep="\n")


class IdentityError(AiplError):
    """An identity map that cannot do what is asked: an identifier or person that it does not know, two that no row links."""


class ParameterError(AiplError, ValueError):
    """A parameter out of its range: an unknown scope or stage, a day that is none, an unknown time zone."""


class ModelError(AiplError, ValueError):
    """A stage model that cannot be used. The message begins with the path of what is wrong, as `stage[1].any[0].days`."""


class SourceError(AiplError, OSError):
    """A file or stream that cannot be read. The message names it."""


class LimitError(SourceError):
    """An input that declares or needs more than a limit allows. The message names the limit and how to raise it."""


class RejectedRowsError(SourceError):
    """A row was rejected and the events say `on_error="raise"`. The message names its file, row, column and reason."""


class AudienceError(AiplError, ValueError):
    """Bytes that are no audience or are damaged, or identifiers asked of an audience that was read without its universe."""


class UniverseMismatchError(AiplError, ValueError):
    """Two audiences number different consumers and cannot be combined."""


class StoreError(AiplError, OSError):
    """A bank that cannot do what is asked: there is none, it was opened to read, it has the batch with other content, the events are expired."""


class StoreLockedError(StoreError):
    """Another handle writes to the bank."""


class CorruptStoreError(StoreError):
    """The files of a bank contradict each other or are damaged. The message names the file."""


class NoSpaceError(StoreError):
    """The disk is full. Nothing was changed, and the bank can still be read."""


class FormatVersionError(StoreError):
    """The bank was written by a later version of the library."""


class MemoryLimitError(AiplError, MemoryError):
    """The memory that this process may use did not suffice. Nothing was changed; the same works once there is more."""


class InternalError(AiplError, RuntimeError):
    """A fault of this package itself. Please report it with its message."""


class LostDataWarning(UserWarning):
    """Something that was there is gone, and cannot be told from what is left; the message says what, and what helps."""


class RejectedRowsWarning(UserWarning):
    """Some rows could not be events and were left out; the result's `report` counts them and keeps the first examples."""
