"""One module per engine, each with the fastest form of the same question that was found for it.

A module offers:

* ``MODULE``: what has to be importable;
* ``prepare(threads)``: imports the engine and opens what it needs; not part of the measured query;
* ``snapshot(state, path, as_of)``: the measured query, from the files to a finished table;
* ``rows(table)``: that table as ``(brand, stage, consumers)`` tuples; not measured.

Those of `assets.py` are called ``assets_…``, and offer an ``Engine`` that loads, finds audiences, and lists the ways to ask for a measure.
"""
