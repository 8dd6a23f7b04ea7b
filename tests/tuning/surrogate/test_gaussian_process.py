import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime

from allocator.tuning.surrogate import gaussian_process

with warnings.catch_warnings():
    # linear_operator compiles with torch.jit.script, which newer torch deprecates.
    warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
    from gpytorch.mlls import ExactMarginalLogLikelihood

Floats = gaussian_process.Floats


def sample(num_observations: int, num_inputs: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(num_observations)
    inputs = rng.random((num_observations, num_inputs))
    targets = np.sin(4 * inputs).sum(axis=1) + 0.1 * rng.standard_normal(num_observations)
    return inputs, (targets - targets.mean()) / targets.std()


def fitted_by_botorch(inputs: Floats, targets: Floats) -> SingleTaskGP:
    model = SingleTaskGP(
        torch.from_numpy(inputs),
        torch.from_numpy(targets)[:, None],
        covar_module=get_covar_module_with_dim_scaled_prior(
            ard_num_dims=inputs.shape[1], use_rbf_kernel=False
        ),
        outcome_transform=None,
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


@pytest.mark.parametrize(("num_observations", "num_inputs"), [(5, 2), (30, 4)])
def test_a_fit_agrees_with_botorch(num_observations: int, num_inputs: int) -> None:
    inputs, targets = sample(num_observations, num_inputs)
    queries = np.random.default_rng(9).random((20, num_inputs))
    mean, variance = gaussian_process.fit_gaussian_process(
        inputs, targets, np.random.default_rng(0)
    ).predict(queries)
    model = fitted_by_botorch(inputs, targets)
    with torch.no_grad():
        posterior = model.posterior(torch.from_numpy(queries))
    np.testing.assert_allclose(mean, posterior.mean[:, 0].numpy(), atol=5e-3)
    np.testing.assert_allclose(variance, posterior.variance[:, 0].numpy(), atol=5e-3)


@pytest.mark.parametrize("num_shared", [0, 1, 2, 3])
def test_the_gradient_agrees_with_finite_differences(num_shared: int) -> None:
    inputs, targets = sample(12, 3)
    squares = (inputs[:, None] - inputs[None]) ** 2
    groups = np.array([np.arange(12) // 3, np.arange(12) % 4, np.arange(12) % 2])[:num_shared]
    together = (groups[:, :, None] == groups[:, None]).astype(float)
    theta = np.array([-0.3, 0.5, -1.0, -3.0, *[-2.0, -0.7, 0.4][:num_shared], 0.2])
    noises = np.array([[-4.0, 1.0], [-0.8, 0.5], [0.0, 2.0], [-1.0, 0.7]])[: num_shared + 1].T
    lengths = gaussian_process.make_dimension_scaled_prior(3)
    known = (squares, together, targets, lengths, noises)
    _, gradient = gaussian_process._compute_negative_log_posterior(theta, *known)
    numeric = approx_fprime(
        theta, lambda t: gaussian_process._compute_negative_log_posterior(t, *known)[0], 1e-6
    )
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-4)


def test_what_a_group_shares_is_noise_and_no_certainty() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 4)
    inputs = rng.random((12, 2))[groups] + 0.01 * rng.random((48, 2))
    luck = rng.standard_normal(12)
    true = np.sin(4 * inputs).sum(axis=1)
    targets = true + 0.5 * luck[groups]
    center, scale = targets.mean(), targets.std()
    errors = []
    for known in ((), (gaussian_process.SharedNoise(groups=groups, prior=(-0.8, 0.5)),)):
        process = gaussian_process.fit_gaussian_process(
            inputs, (targets - center) / scale, np.random.default_rng(0), shared=known
        )
        mean, variance = process.predict(inputs)
        errors.append(np.abs((true - center) / scale - mean) / np.sqrt(variance))
    assert np.mean(errors[0] < 2) < 0.4
    assert np.mean(errors[1] < 2) > 0.8
