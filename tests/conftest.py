"""Tiny models and a tiny task that many tests share: random weights, real files, no network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    Phi3Config,
    Phi3Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import AdapterConfig, TrainingConfig
from allocator.data.corpus import Example, generate
from allocator.data.sources import TaskData, load_task
from allocator.files.adapter_section import AdapterSection
from allocator.files.recipe import ModelSection, Recipe, TaskSection, TrainingSection
from allocator.files.study_folder import ADAPTER_FILE, CONFIG_FILE, RECIPE_FILE
from allocator.files.yaml_files import write_yaml
from allocator.inputs.tokens import tokenize_examples
from allocator.models.attached import attach
from allocator.models.model_source import ModelSource, locate_model
from allocator.models.preprocessors import load_tokenizer
from allocator.trained.trained_adapter import load_model
from allocator.training.splits import Splits

pytest_plugins = ["tests.tiny_images"]

TRAIN_SENTENCES, DEV_SENTENCES = 320, 120
SIZES: dict[str, float | None] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "initializer_range": 0.2,  # so that attention is not all but uniform
}
SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]  # RoBERTa and MPNet want the padding second


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keeps tensors this small on one thread: more would wait for each other longest."""
    torch.set_num_threads(1)


@pytest.fixture
def browser() -> None:
    """Lets a test draw PNG by the browser of the machine."""


@pytest.fixture(autouse=True)
def no_browser(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Spares all other tests the seconds that a browser takes."""
    if "browser" not in request.fixturenames:
        monkeypatch.setenv("BROWSER_PATH", "no-browser")


@pytest.fixture(scope="session")
def corpus() -> dict[str, list[Example]]:
    """A few hundred sentences of the bundled corpus, by split."""
    return {"train": generate("train")[:TRAIN_SENTENCES], "dev": generate("dev")[:DEV_SENTENCES]}


@pytest.fixture(scope="session")
def small_glue(tmp_path_factory: pytest.TempPathFactory, corpus: dict[str, list[Example]]) -> Path:
    """A folder in GLUE's layout that holds a CoLA of a few hundred sentences."""
    root = tmp_path_factory.mktemp("glue")
    (root / "CoLA").mkdir()
    for split, examples in corpus.items():
        lines = [f"bc\t{e.label}\t{'' if e.label else '*'}\t{e.sentence}\n" for e in examples]
        (root / "CoLA" / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def words(corpus: dict[str, list[Example]]) -> dict[str, int]:
    """Token ids of the words of the few hundred sentences."""
    return _vocabulary([e.sentence for split in corpus.values() for e in split])


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, words: dict[str, int]) -> dict[str, Path]:
    """Folders of random encoders, 2 layers of 4 heads and 32 wide, by the names of their kinds.

    None has a classification head; the BERT has a pooler. The ELECTRA's embeddings are 16 wide.
    """
    root = tmp_path_factory.mktemp("models")
    sizes = {**SIZES, "vocab_size": len(words), "pad_token_id": words["<pad>"]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models: dict[str, PreTrainedModel] = {
            "bert": BertModel(BertConfig.from_dict(sizes)),
            "roberta": RobertaModel(RobertaConfig.from_dict(sizes), add_pooling_layer=False),
            "mpnet": MPNetModel(MPNetConfig.from_dict(sizes), add_pooling_layer=False),
            "xlm-roberta": XLMRobertaModel(
                XLMRobertaConfig.from_dict(sizes), add_pooling_layer=False
            ),
            "electra": ElectraModel(ElectraConfig.from_dict(sizes | {"embedding_size": 16})),
            "distilbert": DistilBertModel(DistilBertConfig.from_dict(sizes | {"hidden_dim": 64})),
        }
    for name, model in models.items():
        model.save_pretrained(root / name)
        _tokenizer(words, with_segments=name == "bert").save_pretrained(root / name)
    return {name: root / name for name in models}


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory, words: dict[str, int]) -> Path:
    """Folder of a random decoder of 4 heads, 2 of them for keys and values, without padding."""
    folder = tmp_path_factory.mktemp("llama")
    sizes = {**SIZES, "vocab_size": len(words), "num_key_value_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaModel(LlamaConfig.from_dict(sizes)).save_pretrained(folder)
    _tokenizer(words, with_segments=False, pad_token=None).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_fused(tmp_path_factory: pytest.TempPathFactory, words: dict[str, int]) -> dict[str, Path]:
    """Folders of random models with query, key and value in one layer, by their architectures.

    GPT-NeoX has them head by head, GPT-2 in a transposed layer; Phi-3 has 2 heads of keys and
    values for 4 of queries.
    """
    root = tmp_path_factory.mktemp("fused")
    sizes = {**SIZES, "vocab_size": len(words), "pad_token_id": words["<pad>"]}
    short = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 80, "vocab_size": len(words)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models: dict[str, PreTrainedModel] = {
            "gpt_neox": GPTNeoXModel(GPTNeoXConfig.from_dict(sizes)),
            "gpt2": GPT2Model(GPT2Config.from_dict({**short, "initializer_range": 0.2})),
            "modernbert": ModernBertModel(ModernBertConfig.from_dict(sizes)),
            "phi3": Phi3Model(Phi3Config.from_dict({**sizes, "num_key_value_heads": 2})),
        }
    for name, model in models.items():
        model.save_pretrained(root / name)
        _tokenizer(words, with_segments=False).save_pretrained(root / name)
    return {name: root / name for name in models}


def _vocabulary(sentences: list[str]) -> dict[str, int]:
    words = {
        word
        for sentence in sentences
        for word, _ in BertPreTokenizer().pre_tokenize_str(sentence.lower())
    }
    return {word: i for i, word in enumerate([*SPECIAL_TOKENS, *sorted(words)])}


def _tokenizer(
    words: dict[str, int], *, with_segments: bool, pad_token: str | None = "<pad>"
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[(token, words[token]) for token in ("<s>", "</s>")],
    )
    segments = ["token_type_ids"] if with_segments else []
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="<s>",
        pad_token=pad_token,
        sep_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
        model_input_names=["input_ids", *segments, "attention_mask"],
    )


@pytest.fixture(scope="session")
def tiny_bert(tiny_models: dict[str, Path]) -> Path:
    """Folder of the tiny BERT, with a pooler."""
    return tiny_models["bert"]


@pytest.fixture(scope="session")
def tiny_roberta(tiny_models: dict[str, Path]) -> Path:
    """Folder of the tiny RoBERTa."""
    return tiny_models["roberta"]


@pytest.fixture(scope="session")
def tiny_mpnet(tiny_models: dict[str, Path]) -> Path:
    """Folder of the tiny MPNet."""
    return tiny_models["mpnet"]


@pytest.fixture(scope="session")
def small_task(small_glue: Path) -> TaskData:
    """The CoLA of `small_glue`."""
    return load_task("cola", source="dir", data_dir=small_glue)


@pytest.fixture(scope="session")
def tiny_source(tiny_bert: Path) -> ModelSource:
    """The tiny BERT as a located model."""
    return locate_model(str(tiny_bert), tiny_bert / "no-cache")


@pytest.fixture(scope="session")
def tiny_backbone(tiny_source: ModelSource) -> Backbone:
    """The tiny BERT, frozen and adapted in float32 on the CPU; training leaves it as it is."""
    return load_backbone(
        tiny_source,
        ("query", "key", "value"),
        num_labels=2,
        precision="float32",
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="session")
def tiny_spec(tiny_backbone: Backbone) -> AdapterSpec:
    """Tucker over all modes of the tiny BERT; ranks input, head_dim, heads, qkv, depth."""
    shape = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=tiny_backbone.sites.shape
    )
    return AdapterSpec(shape=shape, config=AdapterConfig())


@pytest.fixture(scope="session")
def tiny_splits(tiny_source: ModelSource, small_task: TaskData) -> Splits:
    """The small task's tokens: train, and dev to be scored on."""
    tokenizer = load_tokenizer(tiny_source)
    return Splits(
        train=tokenize_examples(small_task.train, tokenizer, max_length=64),
        scoring=tokenize_examples(small_task.dev, tokenizer, max_length=64),
        metric=small_task.task.metric,
    )


@pytest.fixture(scope="session")
def tiny_recipe(tiny_source: ModelSource, small_task: TaskData) -> Recipe:
    """An allocation of the tiny BERT and the small task."""
    ranks = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
    allocation = Allocation(ranks=ranks, learning_rate=2e-3, core_lr_multiplier=4.0)
    return Recipe(
        budget=1_000,
        num_parameters=226,
        model=ModelSection(name=tiny_source.name, sha256=tiny_source.sha256),
        task=TaskSection(
            name="cola",
            text_columns=small_task.task.text_columns,
            labels=small_task.task.labels,
            source=small_task.source,
            fingerprint=small_task.fingerprint,
            metric=small_task.task.metric,
        ),
        adapter=AdapterSection(
            construction="att_qkv_depth",
            factorization="tucker",
            ranks=ranks,
            targets=("query", "key", "value"),
            scaling=4.0,
            initialization="orthogonal",
        ),
        training=TrainingSection.join(
            allocation,
            TrainingConfig(epochs=2, max_length=64),
            precision="float32",
            trains_pooler=True,
        ),
        scores={"score": 0.9, "scored_on": "held_out"},
        study={"name": "small"},
    )


@pytest.fixture
def tiny_study(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    """A study's folder as far as using its result needs one; its adapter's updates are random."""
    folder = tmp_path / "studies" / "small"
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).touch()
    write_yaml(folder / RECIPE_FILE, tiny_recipe, "A recipe.")
    torch.manual_seed(0)
    attached = attach(load_model(tiny_recipe), tiny_recipe)
    torch.nn.init.normal_(attached.adapter.zero_part, std=0.2)
    attached.save(folder / ADAPTER_FILE)
    return folder
