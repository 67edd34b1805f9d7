"""A linear probe: logistic regression on frozen image features, regularisation chosen on a validation part.

As in CLIP's paper (Radford et al. 2021, appendix A.3): scikit-learn's L-BFGS with at most 1,000 iterations. The
strength of L2 is searched between 1e-6 and 1e6: first at 7 points two decades apart, then around the best one with half
the step, until 8 steps per decade. The last fit has the validation part too. C of scikit-learn is 1 / strength of L2.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from store.common.errors import ConfigError
from trainer.evaluation.metrics import accuracy, class_ranks

STEPS_A_DECADE = 8
LAST = 12 * STEPS_A_DECADE  # points 0 to 96: C from 1e-6 to 1e6
FIRST_STEP = 2 * STEPS_A_DECADE
MAX_ITERATIONS = 1000
VALIDATION_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Labelled:
    """Features (I, E) float32 of images, and the positions of their classes (I,) int64."""

    features: torch.Tensor
    labels: torch.Tensor

    def part(self, mask: torch.Tensor) -> "Labelled":
        return Labelled(self.features[mask], self.labels[mask])


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe.

    Attributes:
        class_NF: (N, E + 1) weights and bias of every class; a class without a training image has a bias of -inf.
        C: inverse strength of regularisation that validated best.
        validation_accuracy: accuracy on the validation part, of a probe with this C that was fitted without it.
    """

    class_NF: torch.Tensor
    C: float
    validation_accuracy: float

    def ranks(self, test: Labelled) -> torch.Tensor:
        """For each image the rank of its true class: (I,) int64, from 1."""
        image_IF = torch.cat([test.features, torch.ones(len(test.features), 1)], dim=1)
        return class_ranks(image_IF, self.class_NF, test.labels)


def fit_probe(train: Labelled, validation: Labelled, num_classes: int, primary: str) -> Probe:
    """Choose C on ``validation`` by the accuracy ``primary``, of equals the smallest, then fit on both parts.

    Raises:
        ConfigError: scikit-learn is not installed, or a part has no image or fewer than two classes.
    """
    if not len(validation.labels) or len(train.labels.unique()) < 2:
        raise ConfigError(
            f"a linear probe needs two classes to train on and images to validate on; there are "
            f"{len(train.labels.unique())} classes and {len(validation.labels)} images"
        )

    def validate(point: int) -> float:
        probe = Probe(_fit(train, num_classes, strength(point)), strength(point), 0.0)
        return accuracy(probe.ranks(validation), validation.labels)[primary]

    point, best = search(validate)
    both = Labelled(torch.cat([train.features, validation.features]), torch.cat([train.labels, validation.labels]))
    return Probe(_fit(both, num_classes, strength(point)), strength(point), best)


def strength(point: int) -> float:
    """C at a point of the search, 0 to 96: 1e-6 to 1e6."""
    return 10.0 ** (point / STEPS_A_DECADE - 6)


def search(validate: Callable[[int], float]) -> tuple[int, float]:
    """The point in 0 to 96 that validates best, and its value; at most 15 points are tried."""
    values = {point: validate(point) for point in range(0, LAST + 1, FIRST_STEP)}
    step = FIRST_STEP
    while True:
        best = min(values, key=lambda point: (-values[point], point))
        if step == 1:
            return best, values[best]
        step //= 2
        values |= {point: validate(point) for point in (best - step, best + step) if 0 <= point <= LAST}


def held_out(labels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A fifth of each class, at least one image where it has two, drawn at random: (I,) bool."""
    random = np.random.default_rng(seed)
    mask = np.zeros(len(labels), dtype=bool)
    for label in labels.unique().tolist():
        places = np.flatnonzero((labels == label).numpy())
        count = max(1, round(VALIDATION_SHARE * len(places))) if len(places) > 1 else 0
        mask[random.permutation(places)[:count]] = True
    return torch.from_numpy(mask)


def _fit(train: Labelled, num_classes: int, C: float) -> torch.Tensor:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(
            "a linear probe needs scikit-learn, which is not installed; pip install 'keyclip[probe]'"
        ) from error
    model = LogisticRegression(C=C, max_iter=MAX_ITERATIONS, solver="lbfgs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the published number of iterations ends weakly regularised fits early
        model.fit(train.features.numpy(), train.labels.numpy())
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn has one row for two classes, the second's advantage
        weights, bias = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, bias)
    class_NF = torch.zeros(num_classes, train.features.shape[1] + 1)
    class_NF[:, -1] = -torch.inf
    class_NF[torch.from_numpy(model.classes_)] = torch.from_numpy(np.column_stack([weights, bias])).float()
    return class_NF
