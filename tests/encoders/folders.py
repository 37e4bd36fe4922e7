"""Tiny models in the layouts that others save, made by hand: what the JSON files say is what their libraries write."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken
from transformers import AutoTokenizer, BertConfig, BertModel

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
DENSE = {"in_features": 16, "out_features": 6, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def make_bert(seed=0, vocab_size=220):
    torch.manual_seed(seed)
    return BertModel(BertConfig(vocab_size=vocab_size, max_position_embeddings=64, **SIZES), add_pooling_layer=False).eval()


def save_tokenizer(world, folder, added=()):
    tokenizer = AutoTokenizer.from_pretrained(world.teacher)
    tokenizer.add_tokens([AddedToken(token) for token in added])
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_dense(folder, seed=1, **changes):
    """Weights of a dense layer and its config; returns W [out, in] and b."""
    config = DENSE | changes
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(config["out_features"], config["in_features"], generator=generator)
    bias = torch.randn(config["out_features"], generator=generator) if config["bias"] else None
    write(folder / "config.json", config)
    save_file({"linear.weight": weight} | ({} if bias is None else {"linear.bias": bias}), folder / "model.safetensors")
    return weight, bias


def save_modules(folder, *modules):
    rows = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    write(folder / "modules.json", rows)


def save_pylate(world, folder):
    """As PyLate 1.6 saves: markers are added tokens; returns encoder and W."""
    model = make_bert()
    model.save_pretrained(folder)
    save_tokenizer(world, folder, ("[Q] ", "[D] "))
    save_modules(folder, ("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense"))
    weight, _ = save_dense(folder / "1_Dense", use_residual=False)
    texts = {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 12, "document_length": 20, "skiplist_words": ["."]}
    write(folder / "config_sentence_transformers.json", texts | {"model_type": "ColBERT", "attend_to_expansion_tokens": False})
    return model, weight


def save_colbert(world, folder, suffix=".safetensors"):
    """As Stanford ColBERT saves: encoder below `bert.`, projection beside it, settings in artifact.metadata; returns encoder and W."""
    model = make_bert()
    model.config.architectures = ["HF_ColBERT"]
    model.config.save_pretrained(folder)
    save_tokenizer(world, folder, ("[unused0]", "[unused1]"))
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    tensors = {f"bert.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()} | {"linear.weight": weight}
    if suffix == ".bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    metadata = {"query_maxlen": 12, "doc_maxlen": 20, "dim": 6, "query_token_id": "[unused0]", "doc_token_id": "[unused1]"}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return model, weight
