#!/usr/bin/env python3
"""Writes tests/data/tokenizers: small vocabularies trained on a few kB of text by the libraries whose files are read here,
and the ids that they give for texts that are hard. Needs tokenizers and sentencepiece (pip); the tests need neither.

    tests/data/make_tokenizers.py TEXT          TEXT: some English, e.g. the first 60 kB of tinyshakespeare.txt
"""
import json
import os
import sys

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.implementations import BertWordPieceTokenizer

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")

TEXTS = [
    "", " ", "\n", "\t \n\n  x", "a", "Hello, world!", "First Citizen:\nBefore we proceed any further, hear me speak.\n",
    "I'll they've we're it's don't I'm he'd 'S 'LL", "don\u2019t \u201cquote\u201d \u2014 dash\u2026", "  leading and trailing  ",
    "many     spaces\u00a0nbsp\u2003em\u3000ideographic\u1680ogham\u180emongolian\u200bzero\u2028line\u2029par",
    "tabs\tand\rreturns\r\nand\x0bvertical\x0cfeed\x1cfs\x1dgs\x85nel", "control \x00\x01\x02\x1f\x7f\x9f end\ufffd\ufeff",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m \u212b A\u030a \u01c5 \ufb01 \u0130I\u0131 \u1e9e\u00df \u03a3\u03c3\u03c2 \u039f\u0394\u039f\u03a3",
    "\u0041\u0300\u0301\u0302\u0323 \u0344 \u1100\u1161\u11a8 \uac01 \ud55c\uad6d\uc5b4", "\u4e2d\u6587\u5b57 \u65e5\u672c\u8a9e\u30c6\u30b9\u30c8 \U00020000 \U0002b81d \U0002b820 \U0002b920",
    "\U0001f600\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44d\U0001f3fd!",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0650\u0627\u0644\u0639\u064e\u0631\u064e\u0628\u0650\u064a\u0651\u0629 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "x" * 99, "y" * 100, "z" * 101, "\u00e9" * 101, "supercalifragilisticexpialidocious" * 12, "the" * 70, "aA1bB22cC333 3.14159 1,000,000 \u00bd \u00b2 \u2167 \u0663\u0664 \u1369",
    "a_b-c/d\\e|f@g#h$i%j^k&l*m(n)o[p]q{r}s;t:u'v\"w<x>y,z.?!`~+=", "[CLS] [SEP][MASK] [UNK] [PAD] [cls] x[SEP]y  [MASK]  z",
    "<s>a</s> <pad> <unk>  <mask>  b <mask>c <|endoftext|><|endoftext|> <|ENDOFTEXT|>", "special<one>s and <one> <one>x x<one> \n<two>\n <three> THREE three",
    "\u2581already \u2581marked <0x41> ##piece ##s \u0120G", "\u00ad soft\u00adhyphen \u200e\u200f\u202a \ue000private \u0378unassigned", "e\u0301\u0302 \u0301alone \u0301", "\U0001d400\U0001d7d9 \u210c \u2126 \uff21\uff42\uff11 \u3392",
    "\t\t\tif (x == 0) {\n\t\t\t\treturn  0;\n\t\t\t}\n\n\n", "What ho!  Speak; I charge thee, speak.\n\n\nExeunt.", "0123456789 12 345 6789 99999999",
]


def byte_level(size, **more):
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, **more)
    return trainer


def train(tokenizer, trainer, text):
    tokenizer.train_from_iterator(text.split("\n\n"), trainer)
    return tokenizer


def bert(text):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return train(t, trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False), text + "\u4e2d \u6587 \u00df \u03c3 \u1100 caf\u00e9 ! @ 1 2 3")


def bert_cased(text):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=False)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return train(t, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False), text + "caf\u00e9 \u00c5")


def gpt2(text):
    """As roberta's files: vocab.json and merges.txt."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True), "<|endoftext|>"]
    return train(t, byte_level(420, special_tokens=specials), text)


def modern(text):
    """As ModernBERT and GPT-NeoX: NFC, added runs of spaces, special tokens behind the vocabulary."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    train(t, byte_level(340), text)
    t.add_tokens([AddedToken(" " * n, normalized=True) for n in (4, 3, 2)] + [AddedToken("<one>", single_word=True), AddedToken("caf\u00e9", normalized=True)])
    t.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True), AddedToken("<two>", rstrip=True, lstrip=True)])
    return t


def llama3(text):
    """A pattern of its own, whole words that are tokens are not cut, a space in front."""
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return train(t, byte_level(380, special_tokens=["<|endoftext|>"]), text)


def prefixed(text):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    t.decoder = decoders.ByteLevel()
    return train(t, byte_level(300, special_tokens=["<s>"]), text)


def clip(text):
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    return train(t, byte_level(700, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>"), text)


def llama(text):
    """As Llama's: spaces are marked, nothing is split, what is unknown becomes bytes."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    # Trained on words, for a whole text would be one.
    t.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    specials = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    train(t, trainers.BpeTrainer(vocab_size=500, special_tokens=specials[:3], show_progress=False), text)
    model = json.loads(t.to_str())
    vocab = {w: i for i, w in enumerate(specials)}
    for word in model["model"]["vocab"]:
        vocab.setdefault(word, len(vocab))
    model["model"]["vocab"] = vocab
    model["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(model))


def words(text):
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    return train(t, trainers.WordLevelTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False), text)


def save(name, tokenizer, expected):
    tokenizer.save(os.path.join(OUT, name + ".json"), pretty=False)
    expected[name + ".json"] = [tokenizer.encode(x, add_special_tokens=False).ids for x in TEXTS]


def sentence_pieces(path, expected):
    for name, kind, more in (("unigram", "unigram", {"normalization_rule_name": "identity"}), ("bpe", "bpe", {"byte_fallback": True, "normalization_rule_name": "identity", "split_digits": True})):
        model = os.path.join(OUT, name)
        sentencepiece.SentencePieceTrainer.train(input=path, model_prefix=model, model_type=kind, vocab_size=330 if kind == "unigram" else 420, character_coverage=0.999,
                                                 user_defined_symbols=["<one>"], minloglevel=2, **more)
        os.remove(model + ".vocab")
        processor = sentencepiece.SentencePieceProcessor(model_file=model + ".model")
        expected[name + ".model"] = [processor.encode(x) for x in TEXTS]


def main():
    path = sys.argv[1]
    text = open(path, encoding="utf-8").read()
    os.makedirs(OUT, exist_ok=True)
    expected = {}
    for make in (bert, modern, llama3, prefixed, clip, llama, words):
        save(make.__name__, make(text), expected)
    uncased, cased = bert(text), bert_cased(text)
    for name, t in (("vocab.txt", uncased), ("cased.txt", cased)):
        lines = sorted(t.get_vocab().items(), key=lambda item: item[1])
        open(os.path.join(OUT, name), "w", encoding="utf-8").write("".join(word + "\n" for word, _ in lines))
        reader = BertWordPieceTokenizer(os.path.join(OUT, name), lowercase=name == "vocab.txt")
        expected[name] = [reader.encode(x, add_special_tokens=False).ids for x in TEXTS]
    pairs = gpt2(text)
    pairs.model.save(OUT)
    expected["vocab.json"] = [pairs.encode(x, add_special_tokens=False).ids for x in TEXTS]
    sentence_pieces(path, expected)
    json.dump({"texts": TEXTS, "ids": expected}, open(os.path.join(OUT, "expected.json"), "w"), ensure_ascii=True, separators=(",", ":"))


main()
