"""Memory does not grow with the number of rows. ``python -m tests.tools.prepare.scale`` shows it for 15 million."""

import pytest

from tests.tools.prepare.scale import FAILED, make, match


@pytest.mark.slow
def test_three_times_the_rows_take_no_more_memory(tmp_path):
    peaks = []
    for num_rows in (1_000_000, 3_000_000):
        make(tmp_path / str(num_rows), num_rows)
        found = match(tmp_path / str(num_rows))
        failed = -(-num_rows // FAILED)
        assert found["num_matched"] == num_rows - failed
        assert found["num_unmatched"] == failed
        peaks.append(found["peak_mb"])
    assert peaks[1] < 1.15 * peaks[0]
