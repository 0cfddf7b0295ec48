"""Why a test is left out where platforms run as a process per service: `make test-split` tells how many."""

import pytest

DATA_FOLDER = pytest.mark.embedded_only("the command line on a data folder")
"""Marks tests of files that separate services have not: they are on PostgreSQL."""
OWN_PROCESSES = pytest.mark.embedded_only("what starts its processes itself")
"""Marks tests that are the same however other tests run platforms."""
