"""How many threads questions run on."""

from __future__ import annotations

from aipl import _core
from aipl._arguments import count

__all__ = ["num_threads", "set_num_threads"]


def num_threads() -> int:
    """The number of threads that questions run on.

    It is what `set_num_threads` set, else the environment variable `AIPL_NUM_THREADS`, else the number of CPUs that this
    process may use. No answer depends on it.

    Raises
    ------
    ParameterError
        If `AIPL_NUM_THREADS` is not a whole number from 1 to 1024.

    Examples
    --------
    >>> aipl.num_threads() >= 1
    True
    """
    return _core.num_threads()


def set_num_threads(n: int) -> None:
    """Set the number of threads for the questions that follow, in the whole process.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    ParameterError
        If it is out of range.

    Examples
    --------
    >>> before = aipl.num_threads()
    >>> aipl.set_num_threads(2)
    >>> aipl.num_threads()
    2
    >>> aipl.set_num_threads(before)
    """
    _core.set_num_threads(count("n", n, 1))
