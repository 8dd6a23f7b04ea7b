import numpy as np
import pytest

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.points import Domain
from allocator.tuning.space.space_file import read_space
from allocator.tuning.surrogate.encoder import Encoder

BACKBONE = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)


def test_lambda_is_encoded_as_the_rate_of_the_core() -> None:
    space = build_space(read_space("tenslora_plus"), BACKBONE, 40_000)
    domain = Domain(space)
    point = domain.point_to_params(domain.sample_points(1, np.random.default_rng(0))[0])
    same_core = [
        {**point, "learning_rate": 1e-3, "core_lr_multiplier": 8.0},
        {**point, "learning_rate": 2e-3, "core_lr_multiplier": 4.0},
    ]
    first, second = Encoder(space).encode_points(domain.params_to_points(same_core))
    assert np.sum(~np.isclose(first, second)) == 1  # the base rate alone


@pytest.mark.parametrize(
    ("preset", "inputs"), [("lora", 3), ("lora_plus", 4), ("tenslora_plus", 8)]
)
def test_parameters_that_are_fixed_are_no_inputs(preset: str, inputs: int) -> None:
    space = build_space(read_space(preset), BACKBONE, 500_000)
    points = Domain(space).sample_points(3, np.random.default_rng(0))
    assert Encoder(space).encode_points(points).shape == (3, inputs)
