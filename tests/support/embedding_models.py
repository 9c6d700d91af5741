"""Small embedding models with random weights: one like BERT, and one like Qwen3-Embedding."""

from pathlib import Path

from gguf import GGUFWriter, PoolingType, TokenType

from tests.support.models import spelling
from tests.support.random_weights import RandomWeights, written

N_EMBD, N_LAYERS, N_HEADS, N_FF = 64, 2, 4, 128
CONTEXT = 512
_WORDS = ["the", "snow", "is", "white", "king", "of", "norway", "what", "colour"]


def bert(path: Path, pooling: PoolingType = PoolingType.MEAN) -> Path:
    """A bidirectional encoder with a WordPiece vocabulary: [CLS] and [SEP] around every text."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    # llama.cpp spells the start of a word with U+2581, and its continuation without ##
    tokens = [*specials, *(f"\u2581{word}" for word in (*_WORDS, *letters)), *letters]
    writer = _writer(path, "bert", pooling)
    writer.add_causal_attention(value=False)
    writer.add_layer_norm_eps(1e-12)
    writer.add_token_type_count(2)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * len(specials) + [TokenType.NORMAL] * (len(tokens) - 5))
    for name, token in (("pad", 0), ("unk", 1), ("bos", 2), ("sep", 3), ("eos", 3), ("mask", 4)):
        getattr(writer, f"add_{name}_token_id")(token)
    weights = RandomWeights(writer)
    weights.matrix("token_embd", len(tokens), N_EMBD)
    weights.matrix("token_types", 2, N_EMBD)
    weights.matrix("position_embd", CONTEXT, N_EMBD)
    weights.norm("token_embd_norm", N_EMBD, bias=True)
    for layer in range(N_LAYERS):
        block = f"blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.matrix(f"{block}.{part}", N_EMBD, N_EMBD)
        weights.norm(f"{block}.attn_output_norm", N_EMBD, bias=True)
        weights.matrix(f"{block}.ffn_up", N_FF, N_EMBD)
        weights.matrix(f"{block}.ffn_down", N_EMBD, N_FF)
        weights.norm(f"{block}.layer_output_norm", N_EMBD, bias=True)
    return written(writer, path)


def qwen3_embedding(path: Path, pooling: PoolingType = PoolingType.LAST) -> Path:
    """A causal decoder with a vocabulary of bytes, a chat template, and an end token after every text."""
    tokens = [*(spelling()[byte] for byte in range(256)), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    writer = _writer(path, "qwen3", pooling)
    writer.add_head_count_kv(2)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * 256 + [TokenType.CONTROL] * 3)
    writer.add_token_merges(["ÿ ÿ"])  # llama.cpp wants a list
    writer.add_eos_token_id(256)
    writer.add_add_eos_token(value=True)
    writer.add_chat_template("{{ messages[0].content }}")
    weights = RandomWeights(writer)
    weights.matrix("token_embd", len(tokens), N_EMBD)
    weights.norm("output_norm", N_EMBD)
    for layer in range(N_LAYERS):
        block = f"blk.{layer}"
        weights.norm(f"{block}.attn_norm", N_EMBD)
        for part, rows in (("attn_q", N_HEADS * 32), ("attn_k", 64), ("attn_v", 64)):
            weights.matrix(f"{block}.{part}", rows, N_EMBD)
        weights.matrix(f"{block}.attn_output", N_EMBD, N_HEADS * 32)
        weights.norm(f"{block}.attn_q_norm", 32)
        weights.norm(f"{block}.attn_k_norm", 32)
        weights.norm(f"{block}.ffn_norm", N_EMBD)
        for part in ("ffn_gate", "ffn_up"):
            weights.matrix(f"{block}.{part}", N_FF, N_EMBD)
        weights.matrix(f"{block}.ffn_down", N_EMBD, N_FF)
    return written(writer, path)


def _writer(path: Path, architecture: str, pooling: PoolingType) -> GGUFWriter:
    writer = GGUFWriter(str(path), architecture)
    writer.add_name(path.stem)
    writer.add_block_count(N_LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEADS)
    writer.add_pooling_type(pooling)
    return writer
