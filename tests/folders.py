"""What a folder of Hugging Face's holds: tiny configs, and vocabularies of the three families."""

import json

import pytest
import sentencepiece

import commands


def vocab_txt(folder):
    pieces = ["[PAD]", *(f"[unused{i}]" for i in range(3)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(33, 127)]
    words = ["the", "river", "runs", "old", "house", "河"]
    (folder / "vocab.txt").write_text("\n".join([*pieces, *letters, *(f"##{c}" for c in letters), *words]) + "\n")


def byte_level_bpe(folder):
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("Ġ", "r"), ("i", "v")]
    vocab = [*alphabet, *("".join(pair) for pair in merges), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")


def spiece(folder):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(commands.text().splitlines()),
        model_prefix=str(folder / "spiece"),
        vocab_size=120,
        control_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"],
        user_defined_symbols=["<eop>", ".", "(", ")"],
        hard_vocab_limit=False,
        minloglevel=2,
    )


def vocab_size(folder):
    if (folder / "vocab.txt").exists():
        return len((folder / "vocab.txt").read_text().splitlines())
    if (folder / "vocab.json").exists():
        return len(json.loads((folder / "vocab.json").read_text()))
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model")).get_piece_size()


BERT = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
GPT2 = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 32, "bos_token_id": None, "eos_token_id": None}
XLNET = {"n_layer": 2, "n_head": 2, "d_model": 16, "d_inner": 24, "mem_len": None}
THEIRS = {
    "BertForPreTraining": ("BertConfig", {**BERT, "max_position_embeddings": 32}, vocab_txt),
    "BertForMaskedLM": ("BertConfig", {**BERT, "max_position_embeddings": 32}, vocab_txt),
    "GPT2LMHeadModel": ("GPT2Config", GPT2, byte_level_bpe),
    "XLNetLMHeadModel": ("XLNetConfig", XLNET, spiece),
}
