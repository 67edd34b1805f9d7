"""Linear centred kernel alignment: how alike two encoders arrange the same images."""

import torch


def linear_cka(ours_IE: torch.Tensor, theirs_IF: torch.Tensor) -> float:
    """CKA with linear kernels and the unbiased HSIC: 1 for the same arrangement, about 0 for unrelated ones.

    ``CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` with ``K = X X'``, ``L = Y Y'`` (Kornblith et al. 2019,
    Similarity of Neural Network Representations Revisited, eq. 4 and 5). The estimator of HSIC is equation 5 of Song et
    al. 2012 (Feature Selection via Dependence Maximization), with zeros on the diagonals of K and L:
    ``[tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2 / (n-2) 1'KL1] / (n (n-3))``. It does not grow with E / n as the plain one
    does. The sums are computed from the features, so that no matrix of n x n is held.

    Rotation, reflection, scaling and shifts of the features do not change it. It is NaN where the images of a side are
    all alike, or all equally far from each other.

    Raises:
        ValueError: fewer than 4 images, or different numbers of them; both sides hold the same images in one order.
    """
    if len(ours_IE) != len(theirs_IF) or len(ours_IE) < 4:
        raise ValueError(f"{len(ours_IE)} and {len(theirs_IF)} images; expected the same 4 or more on both sides")
    # around the mean HSIC is the same, and its sums lose fewer digits
    ours, theirs = (side.double() - side.double().mean(dim=0) for side in (ours_IE, theirs_IF))
    return (_hsic(ours, theirs) / (_hsic(ours, ours) * _hsic(theirs, theirs)).sqrt()).item()


def _hsic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    n = len(x)
    x_diagonal, y_diagonal = x.square().sum(dim=1), y.square().sum(dim=1)
    x_rows, y_rows = x @ x.sum(dim=0) - x_diagonal, y @ y.sum(dim=0) - y_diagonal  # K1 and L1
    trace = (x.T @ y).square().sum() - x_diagonal @ y_diagonal
    means = x_rows.sum() * y_rows.sum() / ((n - 1) * (n - 2))
    return (trace + means - 2 / (n - 2) * (x_rows @ y_rows)) / (n * (n - 3))
