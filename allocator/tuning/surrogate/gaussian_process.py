"""A small Gaussian process: BoTorch's default model, fitted in milliseconds.

The model is that of BoTorch's `SingleTaskGP` with a Matern-5/2 kernel: a constant mean, a length
scale for every input, inferred noise, and the dimension-scaled priors of Hvarfner et al. 2024
(arXiv 2402.02229). For tens of points autograd is not needed: with the gradient written out, a fit
takes a tenth of BoTorch's time.

One part is added: observations of one group, such as the boundaries of one training or all that was
trained with one seed, share a noise term. Without it, the model would mistake their agreement for
certainty about the noise-free score.

Shapes: N observations, D inputs, Q queried points, K shared noise terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
_LENGTH_PRIOR_SCALE = math.sqrt(3)  # of a log length scale (Hvarfner et al. 2024)
_NOISE_PRIOR = (-4.0, 1.0)  # of the variance of single observations: BoTorch's
# The lower bounds are BoTorch's; the upper ones only keep the optimiser from diverging.
_SMALLEST_LENGTH, _LARGEST_LENGTH = 0.025, 1e3
_SMALLEST_NOISE, _LARGEST_NOISE = 1e-4, 10.0
_JITTER = 1e-8  # on the diagonal; without it rounding may make the Cholesky factorization fail


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedNoise:
    """A noise term that all observations of a group have in common.

    Attributes:
        groups: Group of every observation, shape (N,).
        prior: Log-normal prior of its variance, as location and scale, for targets of variance 1.
    """

    groups: Labels
    prior: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianProcess:
    """A Gaussian process of prior variance 1, conditioned on standardised targets.

    Attributes:
        inputs: Observed inputs, shape (N, D).
        lengths: Length scale of every input, shape (D,).
        mean: Prior mean.
        cholesky: Lower Cholesky factor of the observations' covariance, shape (N, N).
        weights: Inverse of that covariance times the residuals, shape (N,).
        noise: Variance of the noise of single observations.
        shared: Variance of every shared noise term, in the order in which they were given.
    """

    inputs: Floats
    lengths: Floats
    mean: float
    cholesky: Floats
    weights: Floats
    noise: float
    shared: tuple[float, ...]

    def predict(self, queries: Floats) -> tuple[Floats, Floats]:
        """Compute mean and variance of the noise-free target at queries of shape (Q, D).

        Rasmussen and Williams 2006, equations 2.25 and 2.26.

        Returns:
            Mean and variance, each of shape (Q,).
        """
        cross_NQ = compute_matern_covariance(self.inputs, queries, self.lengths)
        solved_NQ = solve_triangular(self.cholesky, cross_NQ, lower=True, check_finite=False)
        variance_Q = np.maximum(1.0 - np.sum(solved_NQ**2, axis=0), _JITTER)
        return self.mean + cross_NQ.T @ self.weights, variance_Q

    def compute_covariance(self, queries: Floats, others: Floats) -> Floats:
        """Compute the posterior covariance between noise-free targets.

        Rasmussen and Williams 2006, equation 2.24.

        Args:
            queries: Shape (Q, D).
            others: Shape (m, D).

        Returns:
            Shape (Q, m).
        """
        left, right = (
            solve_triangular(
                self.cholesky,
                compute_matern_covariance(self.inputs, points, self.lengths),
                lower=True,
                check_finite=False,
            )
            for points in (queries, others)
        )
        return np.asarray(compute_matern_covariance(queries, others, self.lengths) - left.T @ right)


def fit_gaussian_process(
    inputs: Floats,
    targets: Floats,
    rng: np.random.Generator,
    *,
    shared: Sequence[SharedNoise] = (),
    length_prior: Floats | None = None,
) -> GaussianProcess:
    """Fit hyperparameters by maximum a posteriori, and condition on the observations.

    Args:
        inputs: Shape (N, D), each input in about [0, 1].
        targets: Shape (N,), standardised.
        rng: Source of the optimiser's second start; the first is the mode of the prior.
        shared: Noise terms that groups of observations share.
        length_prior: Mean and standard deviation of the logarithm of every length scale, shape
            (2, D); by default that of `make_dimension_scaled_prior`.
    """
    num_inputs = inputs.shape[1]
    lengths_2D = make_dimension_scaled_prior(num_inputs) if length_prior is None else length_prior
    together_KNN = np.array([term.groups[:, None] == term.groups for term in shared], dtype=float)
    together_KNN = together_KNN.reshape(len(shared), len(inputs), len(inputs))
    noises_2K = np.transpose([_NOISE_PRIOR, *(term.prior for term in shared)])
    # The optimiser starts from the mode of the prior: that of a log-normal is exp(mean - std^2).
    length_modes = lengths_2D[0] - lengths_2D[1] ** 2
    noise_modes = noises_2K[0] - noises_2K[1] ** 2
    mode = np.array([*length_modes, *noise_modes, 0.0])
    noise_bounds = (math.log(_SMALLEST_NOISE), math.log(_LARGEST_NOISE))
    bounds = [(math.log(_SMALLEST_LENGTH), math.log(_LARGEST_LENGTH))] * num_inputs
    bounds += [noise_bounds] * len(noise_modes) + [(-np.inf, np.inf)]
    squares_NND = (inputs[:, None] - inputs[None]) ** 2
    arguments = (squares_NND, together_KNN, targets, lengths_2D, noises_2K)
    # The posterior may have several maxima; a second start, drawn around the first, finds another.
    optima = [
        minimize(
            _compute_negative_log_posterior,
            start,
            arguments,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
        )
        for start in (mode, mode + rng.standard_normal(len(mode)))
    ]
    theta = min(optima, key=lambda optimum: float(optimum.fun)).x
    lengths, noise, variances = _split_hyperparameters(theta, num_inputs)
    covariance_NN = compute_matern_covariance(inputs, inputs, lengths)
    covariance_NN += np.tensordot(np.array(variances), together_KNN, axes=1)
    covariance_NN[np.diag_indices_from(covariance_NN)] += noise + _JITTER
    cholesky = np.asarray(np.linalg.cholesky(covariance_NN), dtype=np.float64)
    mean = float(theta[-1])
    return GaussianProcess(
        inputs=inputs,
        lengths=lengths,
        mean=mean,
        cholesky=cholesky,
        weights=cho_solve((cholesky, True), targets - mean, check_finite=False),
        noise=noise,
        shared=tuple(variances),
    )


def compute_matern_covariance(left: Floats, right: Floats, lengths: Floats) -> Floats:
    """Compute the Matern-5/2 covariance between (n, D) and (m, D) inputs, shape (n, m).

    Rasmussen and Williams 2006, equation 4.17.
    """
    a, b = left / lengths, right / lengths
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b needs no (n, m, D) array; rounding may make it negative.
    squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2 * a @ b.T
    distance = np.sqrt(5 * np.maximum(squares, 0.0))
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))


def make_dimension_scaled_prior(num_inputs: int) -> Floats:
    """Make the prior of log length scales: means and standard deviations, shape (2, inputs).

    Hvarfner et al. 2024, equation 4: log-normal with location sqrt(2) + ln(D) / 2. Distances grow
    with the root of the number of inputs D, and length scales with them.
    """
    location = math.sqrt(2) + 0.5 * math.log(num_inputs)
    return np.array([[location] * num_inputs, [_LENGTH_PRIOR_SCALE] * num_inputs])


def _split_hyperparameters(theta: Floats, num_inputs: int) -> tuple[Floats, float, list[float]]:
    """Return the length scales, the variance of the noise, and those of the shared noise terms."""
    noise, *shared = np.exp(theta[num_inputs:-1]).tolist()
    return np.exp(theta[:num_inputs]), noise, shared


def _compute_negative_log_posterior(
    theta: Floats,
    squares_NND: Floats,
    together_KNN: Floats,
    targets: Floats,
    lengths_2D: Floats,
    noises_2K: Floats,
) -> tuple[float, Floats]:
    """Compute the negative log posterior of the hyperparameters, and its gradient.

    Rasmussen and Williams 2006, equations 2.30 and 5.9.

    Args:
        theta: Logarithms of the D length scales, of the noise and of the K shared noise terms, and
            the mean; shape (D + K + 2,).
        squares_NND: Squared differences of the inputs.
        together_KNN: For each shared term, 1 where two observations belong to one group, else 0.
        targets: Shape (N,).
        lengths_2D: Prior of the logarithms of length scales, mean and standard deviation.
        noises_2K: Prior of the logarithms of all noise variances, shape (2, K + 1).
    """
    num_inputs = lengths_2D.shape[1]
    log_lengths, log_noises, mean = theta[:num_inputs], theta[num_inputs:-1], theta[-1]
    scaled_NND = squares_NND * np.exp(-2 * log_lengths)
    distance_NN = np.sqrt(5 * scaled_NND.sum(axis=2))
    decay_NN = np.exp(-distance_NN)
    noise, shared_K = np.exp(log_noises[0]), np.exp(log_noises[1:])
    covariance_NN = (1 + distance_NN + distance_NN**2 / 3) * decay_NN
    covariance_NN += np.tensordot(shared_K, together_KNN, axes=1)
    covariance_NN[np.diag_indices_from(covariance_NN)] += noise + _JITTER
    cholesky_NN = np.linalg.cholesky(covariance_NN)
    inverse_NN = cho_solve((cholesky_NN, True), np.eye(len(targets)), check_finite=False)
    weights_N = inverse_NN @ (targets - mean)
    likelihood = -0.5 * float((targets - mean) @ weights_N) - float(
        np.sum(np.log(np.diag(cholesky_NN)))
    )
    slope_NN = np.outer(weights_N, weights_N) - inverse_NN  # 2 d likelihood / d covariance
    # The derivative of the Matern-5/2 covariance by the logarithm of length scale d is
    # 5/3 (1 + distance) exp(-distance) times the scaled squared difference in input d.
    by_square_NN = slope_NN * (1 + distance_NN) * decay_NN * (5 / 3)
    by_length_D = 0.5 * np.einsum("nm,nmd->d", by_square_NN, scaled_NND)
    by_noise = 0.5 * noise * np.trace(slope_NN)
    by_shared_K = 0.5 * shared_K * np.tensordot(together_KNN, slope_NN, axes=2)
    length_prior, length_slope_D = _compute_log_normal(log_lengths, *lengths_2D)
    noise_prior, noise_slope = _compute_log_normal(log_noises, *noises_2K)
    gradient = np.concatenate(
        [
            by_length_D + length_slope_D,
            np.array([by_noise, *by_shared_K]) + noise_slope,
            [weights_N.sum()],
        ]
    )
    return -(likelihood + length_prior + noise_prior), -gradient


def _compute_log_normal(
    logs: Floats, location: float | Floats, scale: float | Floats
) -> tuple[float, Floats]:
    """Compute the log density of log-normal values, up to a constant, and its slope.

    The density is that of the values; the slope is its derivative by their logarithms `logs`.
    """
    z = (logs - location) / scale
    return float(np.sum(-logs - 0.5 * z**2)), -1.0 - z / scale
