"""How much is tried: FUZZ_CASES (1,000), FUZZ_VARIANTS of each decoder's files (70), and from where: FUZZ_SEED (0).

`make soak` sets more of both.
"""

import os

from hypothesis import HealthCheck, seed, settings

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
VARIANTS = int(os.environ.get("FUZZ_VARIANTS", "70"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
TIMEOUT = 120 + CASES // 10
"""Seconds for a test, on a machine that does other work too."""
VARIANTS_TIMEOUT = 120 + VARIANTS
"""The same for the test of all decoders."""


def examples(share: float) -> settings:
    """For Hypothesis: that share of CASES; the same each time, since each test is seeded with SEED."""
    return settings(
        max_examples=max(10, int(share * CASES)),
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


seeded = seed(SEED)
