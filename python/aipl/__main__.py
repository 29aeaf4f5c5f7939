"""The command line: `python -m aipl`, or `aipl`. A bank in the hands of nightly jobs."""

from __future__ import annotations

import sys

from aipl._command_line import main

if __name__ == "__main__":
    sys.exit(main())
