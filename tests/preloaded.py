"""Libraries that take seconds to import: the server of :mod:`tests.processes` imports them once for all processes."""

import deepspeed  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
