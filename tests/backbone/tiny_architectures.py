"""Tiny random classification models of the architectures that transformers classifies with.

`tiny_model` shrinks the default configuration of an architecture: `_NAMES` says which names its
sizes go by, `_PARTICULARS` what only one architecture needs. Where transformers has several
classes for one configuration (DeiT, LeViT and Perceiver, of images), the first is built.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

NOT_BUILT: Mapping[str, str] = {
    "DinatConfig": "needs natten",
    "ImageGPTConfig": "reads an image as ids of colours",
    "LayoutLMv2Config": "needs detectron2",
    "ShieldGemma2Config": "reads an image within a prompt",
    "Siglip2Config": "reads an image as patches with their places",
    "TimmWrapperConfig": "needs timm",
}
IMAGE_SIZE = 32
BOS, EOS = 0, 2  # as in the vocabularies of the other tests

_NAMES: Mapping[str, float] = {
    "hidden_size hidden_sizes d_model n_embd dim emb_dim embed_dim embed_dims embedding_size "
    "word_embed_proj_dim intra_bottleneck_size projection_dim projection_size pooler_hidden_size "
    "neck_hidden_sizes out_hidden_size base_attn_unit_dims class_expand d_latents "
    "stage_out_channels stem_out_channels shape_vocab_size pronunciation_vocab_size": 32,
    "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers "
    "num_decoder_layers num_self_attends_per_block stage_numb_of_layers num_key_value_heads "
    "num_kv_heads linear_num_key_heads num_experts_per_tok": 2,
    "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
    "num_self_attention_heads num_cross_attention_heads linear_num_value_heads index_n_heads "
    "num_experts num_local_experts n_routed_experts patch_size rotary_dim": 4,
    "head_dim d_head d_kv attention_head_size query_pre_attn_scalar v_head_dim kv_channels "
    "linear_key_head_dim linear_value_head_dim qk_rope_head_dim qk_nope_head_dim key_dim "
    "adapter_rank groups_width num_latents entity_vocab_size max_xpath_tag_unit_embeddings "
    "max_xpath_subs_unit_embeddings": 8,
    "q_lora_rank kv_lora_rank mamba_d_state index_head_dim entity_emb_size shape_embed_dim "
    "pronunciation_embed_dim stage_mid_channels": 16,
    "intermediate_size ffn_dim d_ff dff d_inner n_inner hidden_dim ffn_hidden_size "
    "moe_intermediate_size shared_expert_intermediate_size encoder_ffn_dim decoder_ffn_dim "
    "feed_forward_size": 64,
    "num_hash_buckets": 256,
    "depths block_sizes n_attn_blocks num_block_repeats stage_num_blocks": 1,
    "layer_scale_init_value layerscale_value": 1.0,
    "initializer_range init_std embed_init_std": 0.2,  # so that attention is not all but uniform
    "image_size input_size": IMAGE_SIZE,
    "bos_token_id cls_token_id": BOS,
    "eos_token_id sep_token_id": EOS,
}
_NO_GROUPS_OF_HEADS = {"num_key_value_heads": 4}
_GROUPS_OF_EXPERTS = {"first_k_dense_replace": 1, "n_group": 2, "topk_group": 1}
_LITTLE_REDUCTION = {"sr_ratios": (2, 2, 1, 1), "sequence_reduction_ratios": (2, 2, 1, 1)}
_TWO_STAGES = {"embed_dim": 16, "num_heads": (2, 4), "depths": (2, 2)}
_FULL_ATTENTION_SECOND = {"layer_types": ["linear_attention", "full_attention"]}
_ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
_RELATIVE_POSITIONS = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
_PARTICULARS: Mapping[str, Mapping[str, object]] = {
    "AXK1Config": {**_NO_GROUPS_OF_HEADS, **_GROUPS_OF_EXPERTS},
    "AXK2Config": _NO_GROUPS_OF_HEADS,
    "BitConfig": {"num_groups": 4},
    "CohereCompassTextConfig": {"rope_parameters": {"full_attention": _ROPE}},
    "CvtConfig": {"depth": (1, 2, 3)},
    "DebertaConfig": _RELATIVE_POSITIONS,
    "DebertaV2Config": {**_RELATIVE_POSITIONS, "share_att_key": True, "position_buckets": 16},
    "DeepseekV2Config": _NO_GROUPS_OF_HEADS,
    "DeepseekV3Config": {**_NO_GROUPS_OF_HEADS, **_GROUPS_OF_EXPERTS},
    "DonutSwinConfig": {**_TWO_STAGES, "window_size": 4},
    "EfficientNetConfig": {"width_coefficient": 0.1, "depth_coefficient": 1.0, "hidden_dim": 128},
    "EsmcConfig": _NO_GROUPS_OF_HEADS,
    "FocalNetConfig": {"embed_dim": 16, "depths": (1, 1)},
    "GPTNeoConfig": {"attention_types": [[["global", "local"], 1]]},
    "HGNetV2Config": {"stem_channels": (3, 16, 16), "stage_in_channels": (16, 32, 32, 32)},
    "HieraConfig": {
        **_TWO_STAGES,
        "patch_size": (7, 7),
        "num_query_pool": 1,
        "masked_unit_size": (4, 4),
        "masked_unit_attention": (True, False),
    },
    "JambaConfig": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "LayoutLMv3Config": {"coordinate_size": 5, "shape_size": 6},
    "LevitConfig": {"patch_size": 16},
    "LiltConfig": {"hidden_size": 48},
    "LongformerConfig": {"attention_window": 8},
    "MarkupLMConfig": {"tag_pad_id": 7, "subs_pad_id": 7},
    "MiniCPM3Config": _NO_GROUPS_OF_HEADS,
    "Mistral4Config": {**_NO_GROUPS_OF_HEADS, "head_dim": 16},
    "MobileNetV1Config": {"depth_multiplier": 0.1},
    "MobileNetV2Config": {"depth_multiplier": 0.1, "finegrained_output": False},
    "MobileViTConfig": {"patch_size": 2, "output_stride": 8},
    "MobileViTV2Config": {"patch_size": 2, "output_stride": 8, "width_multiplier": 0.1},
    "PPLCNetConfig": {"scale": 0.125},
    "PvtConfig": _LITTLE_REDUCTION,
    "PvtV2Config": _LITTLE_REDUCTION,
    "Qwen3NextConfig": _FULL_ATTENTION_SECOND,
    "Qwen3_5TextConfig": _FULL_ATTENTION_SECOND,
    "ReformerConfig": {
        "attn_layers": ("local", "lsh"),
        "axial_pos_embds": False,
        **dict.fromkeys(("local_attn_chunk_length", "lsh_attn_chunk_length"), 4),
        "num_buckets": 2,
        "hash_seed": 0,
    },
    "SegformerConfig": _LITTLE_REDUCTION,
    "SwinConfig": {**_TWO_STAGES, "window_size": 4},
    "Swinv2Config": {**_TWO_STAGES, "window_size": 4, "pretrained_window_sizes": (0, 0)},
    "T5Config": {"decoder_start_token_id": 0},
    "XmodConfig": {"default_language": "en_XX"},
    "Zamba2Config": {"layers_block_type": ["linear_attention", "hybrid"]},
    "ZambaConfig": {"layers_block_type": ["hybrid", "hybrid"]},
}


def tiny_model(
    config_class: type[PretrainedConfig],
    *,
    of_images: bool,
    vocab_size: int,
    pad_token_id: int,
    max_length: int = 80,
) -> PreTrainedModel:
    """Build a random classification model of an architecture: 2 layers, 4 heads, 32 wide.

    Models that shrink an image from stage to stage have a layer or two in each. Texts have to end
    with the token `EOS`, from which BART and its kin classify; images are `IMAGE_SIZE` square.

    Args:
        config_class: Configuration of the architecture, a key of the mapping of its task.
        of_images: Whether the model classifies images, not texts.
        vocab_size: Number of tokens.
        pad_token_id: Token that pads a text.
        max_length: Number of tokens that a text may have.

    Returns:
        The model with its two labels in evaluation mode and float32, the same in every call.
    """
    sizes: dict[str, object] = {
        name: size for names, size in _NAMES.items() for name in names.split()
    }
    # RoBERTa counts positions from behind the id of the padding, MPNet always from 2.
    positions = max_length + pad_token_id + 2
    sizes |= dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), positions)
    sizes |= {"vocab_size": vocab_size, "pad_token_id": pad_token_id}
    of_task = (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
        if of_images
        else MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    )
    classes = of_task[config_class]
    model_class = classes[0] if isinstance(classes, tuple) else classes
    assert model_class is not None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = model_class(_tiny_config(config_class, sizes))
        assert isinstance(model, PreTrainedModel)
        _draw_weights(model)
        _settle_batch_norms(model)
    model.eval()
    return model


def _tiny_config(
    config_class: type[PretrainedConfig], sizes: Mapping[str, object]
) -> PretrainedConfig:
    # BART saves no labels of the default names, and then loads three.
    given: dict[str, object] = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    for name, default in vars(config_class()).items():
        if isinstance(default, PretrainedConfig):
            given[name] = _tiny_config(type(default), sizes)
        elif name in sizes:
            of_stages = isinstance(default, list | tuple)
            given[name] = [sizes[name]] * len(default) if of_stages else sizes[name]
    config = config_class.from_dict({**given, **_PARTICULARS.get(config_class.__name__, {})})
    config.num_labels = 2  # PVT's 1,000 are not overcome by naming two
    return config


def _draw_weights(model: nn.Module) -> None:
    """Draw weights that keep the size of a layer's input, and values for what starts as zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, Conv1D):
            nn.init.normal_(module.weight, std=module.nx**-0.5)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)


def _settle_batch_norms(model: nn.Module) -> None:
    """Set the statistics to those of random images: as initialised, the images' signal dies out."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of the batches seen, here of one
    if norms:
        model.train()
        model(pixel_values=torch.rand(8, 3, IMAGE_SIZE, IMAGE_SIZE))
