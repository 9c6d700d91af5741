# ruff: noqa: RUF001 (texts of many scripts)
"""Tokenizing word by word: tokens as llama.cpp's and tiktoken's, at any length, in bounded memory."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from ossctl.data import DATA
from ossctl.runtime import words
from ossctl.runtime.model import LlamaModel
from ossctl.runtime.vocab import Vocabulary
from ossctl.runtime.words import Words

Encode = Callable[[str], list[int]]

TEXTS = {
    "nothing": "",
    "prose": "It was a bright cold day in April, and the clocks were striking thirteen. “Why?” — she asked…",
    "apostrophes": "I'LL we'Ve DON'T he'd o'clock 'tis rock'n'roll it's'S l’été it’s 'S 're'RE ''' '",
    "cases": "getHTTPResponseCode2XX fooBAR BAZqux ÉcoleÉTÉ İstanbul ıssız ǅabc ßẞ ﬁne ªº ʰx ОНИonи ΑΒΓαβγ",
    "numbers": "0 1 12 123 1234 1234567890 3.14159 -1e10 1,000,000 ½ Ⅷ ٣٤٥ १२३४ ² ¹²³⁴⁵ 0x1F 2025-01-02",
    "Python": 'def f(x: int) -> str:\n    """Doc."""\n\treturn f"{x!r}\\n"  # note\n\n\nclass A_b(B): ...\n',
    "C": '#include <stdio.h>\r\nint main(){\r\n\tprintf("%d\\n", a->b[i]++);\r\n\treturn 0; /* */\r\n}\r\n',
    "JSON": '{"a": [1, 2.5, -3e4], "b": {"c": null, "d": "\\u00e9\\n"}, "e": true}\n',
    "HTML": '<!DOCTYPE html>\n<a href="https://example.com/?q=1&amp;r=2#x">text</a><br/>\n<!-- -->\n',
    "shell": "for f in *.txt; do echo \"$f\" | sed 's/a/b/g' >> ~/out 2>&1; done && exit $?\n",
    "LaTeX": r"\frac{a_{1}^2}{\sqrt[3]{x}} \\ \begin{align*} & = \alpha \end{align*}",
    "Chinese": "今天天气很好，我们去公园散步吧！「真的吗？」他问道。２０２５年，价格是￥１００。",
    "Japanese": "吾輩は猫である。名前はまだ無い。ＡＢＣ、カタカナ・ﾊﾝｶｸ々〆ー",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Cyrillic": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "Hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.".replace("\u064b", ""),
    "emoji": "😀 👍🏽 👨\u200d👩\u200d👧 🇩🇪🇫🇷 🧑🏿\u200d🚀ok😀😀😀 ☺ ✓ → ∑∫√ ①②③",
    "blanks": " a  b   c\td\t\te \t f\u00a0g\u3000\u3000h\u2003i\u200bj\x0bk\x0cl\x85m\u2028n\u2029o\x1cp ",
    "newlines": "\n\n\na\n b\n\n  c \n\n d\r\n\r\ne\r\rf\n\t\n\t g \r \n h   \n",
    "punctuation": "!!! ??? ... --- === ### //// \\\\ (()) [[]] {{}} <<>> @@ $$ %% ^^ && ~~ `` ;;; ./\n/\n",
    "controls": "a\x00b\x01\x02\x1f\x7f\ufeffc\ufffdd\ufffe\uffff\ue000\ufdd0\U0010ffff",
    "markers": "<|start|>system<|message|>Hi<|end|><|return|> <|endoftext|><|call|>x<|channel|>final",
    "broken markers": "<|start <|star|> < |start|> <|<|start|>|> <|reserved_200014|> <|endofprompt|> |><|",
}

# Scripts and spellings in which marks stand between letters.
MARKED = {
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Tamil": "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்",
    "Bengali": "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "Arabic with vowels": "بِسْمِ ٱللَّٰهِ ٱلرَّحْمَٰنِ ٱلرَّحِيمِ",
    "after capitals": "\u00c0\u0e31 A\u0301b\u0301C\u0301 cafe\u0301 \u0301x",
}

ALPHABETS = (
    "abcxyzABCXYZ",
    "0123456789٣४Ⅷ½²",
    " \t\n\r\u00a0\u3000\u2028\x0b\x0c\x1c\x85\u1680",
    "'’sStTmMdDlLvVeErRſ",
    '!?.,;:-_()[]{}<>|#@$%^&*+=~`"\\/',
    "éÀßİıſKÅﬁǅǈʰªº",
    "汉字仮名カナー한글",
    "😀👍🏽\u200d🇩🇪☺",
    "\x00\x01\x7f\ufeff\ufffd\ufdd0\ue000\U0010ffff",
)
MARK = regex.compile(r"\p{M}")
FOREIGN_CAPITAL = regex.compile(r"(?![A-Z])[\p{Lu}\p{Lt}]")

# Marks are left out: llama.cpp's pattern has forgotten them and splits words at them, where tiktoken's
# does not. Characters that are not assigned are left out too: Unicode's versions differ in which.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cn", "Mn", "Mc", "Me"])
RUNS = st.builds(lambda text, times: text * times, st.sampled_from("".join(ALPHABETS)), st.integers(1, 9))
FRAGMENTS = RUNS | st.sampled_from(["<|start|>", "<|end|>", "<|endoftext|>", "\r\n", " the"]) | CHARACTERS
ANY_TEXT = st.lists(FRAGMENTS, max_size=12).map("".join).filter(lambda text: not MARK.search(text))


@pytest.fixture(scope="session")
def vocab(o200k: LlamaModel) -> Vocabulary:
    return o200k.vocab


@pytest.fixture(scope="session")
def encode(vocab: Vocabulary) -> Encode:
    """tiktoken's way, in which no text is a control token."""
    import bpe_openai

    encoding = bpe_openai.get_encoding("o200k_base")
    return lambda text: list(encoding.encode(text, disallowed_special=()))


def text_of(ids: list[int], vocab: Vocabulary) -> str:
    return b"".join(map(vocab.piece, ids)).decode()


@pytest.mark.parametrize("kind", TEXTS)
def test_tokens_are_those_of_the_text_as_a_whole_and_of_tiktoken(
    vocab: Vocabulary, encode: Encode, kind: str
) -> None:
    text = TEXTS[kind]
    tokens = vocab.tokenize(text)
    assert tokens == encode(text)
    assert text_of(tokens, vocab) == text
    if "marker" not in kind:
        assert tokens == vocab.llama_tokenize(text)


@pytest.mark.parametrize("kind", MARKED)
def test_marks_belong_to_their_words_as_in_tiktoken(vocab: Vocabulary, encode: Encode, kind: str) -> None:
    assert vocab.tokenize(MARKED[kind]) == encode(MARKED[kind])


@pytest.mark.parametrize("kind", MARKED)
def test_no_mark_is_lost(vocab: Vocabulary, kind: str) -> None:
    assert text_of(vocab.tokenize(MARKED[kind]), vocab) == MARKED[kind]


@pytest.mark.parametrize("kind", ["markers", "broken markers"])
def test_no_spelling_of_a_marker_becomes_one(vocab: Vocabulary, kind: str) -> None:
    assert not set(vocab.tokenize(TEXTS[kind])) & vocab.special_ids
    assert set(vocab.llama_tokenize(TEXTS["markers"])) & vocab.special_ids  # llama.cpp takes it for one


def test_words_joined_in_any_order_have_the_tokens_they_have_alone(vocab: Vocabulary, encode: Encode) -> None:
    dice = random.Random(0)
    pieces = [piece for text in TEXTS.values() for piece in regex.findall(r"\S+\s*|\s+", text)]
    for _ in range(100):
        text = "".join(dice.choices(pieces, k=20))
        assert vocab.tokenize(text) == encode(text), text


@given(st.lists(ANY_TEXT, min_size=1, max_size=10))
@example(["a1'.\n", " \n \n", "'s", "1234", "  x", "x\r\n\r\n/", "\u3000\u3000x"])
def test_any_texts_have_the_same_tokens_as_a_whole_and_by_tiktoken(
    vocab: Vocabulary, encode: Encode, texts: list[str]
) -> None:
    tokens = vocab.tokenize_all(texts)
    assert tokens == list(map(encode, texts))
    assert [text_of(ids, vocab) for ids in tokens] == texts
    # llama.cpp makes tokens of markers, and takes capitals beyond A to Z for small letters.
    plain = [text for text in texts if "<|" not in text and not FOREIGN_CAPITAL.search(text)]
    assert list(map(vocab.llama_tokenize, plain)) == list(map(encode, plain))


@given(st.text(max_size=40))
def test_any_text_comes_back(vocab: Vocabulary, text: str) -> None:
    assert text_of(vocab.tokenize(text), vocab) == text


@pytest.mark.parametrize(
    "text",
    ["a" * 50_000, "A" * 50_000, "7" * 50_000, " " * 50_000, "\n" * 50_000, "!" * 50_000, "汉" * 50_000,
     "é" * 50_000, "😀" * 50_000, "\t \n" * 20_000, "aA1 !" * 10_000, "e\u0301" * 25_000],
    ids=lambda text: ascii(text[:5]),
)  # fmt: skip
def test_a_run_of_50000_does_not_kill_the_process_and_comes_back(vocab: Vocabulary, text: str) -> None:
    assert text_of(vocab.tokenize(text), vocab) == text


def test_half_a_surrogate_pair_is_replaced(vocab: Vocabulary) -> None:
    assert text_of(vocab.tokenize("a\ud800b \udfff"), vocab) == "a?b ?"


def test_every_byte_is_a_token_in_a_vocabulary_of_bytes(gpt_oss: LlamaModel) -> None:
    text = "".join(TEXTS.values()).replace(" t", "")  # the one merge of that vocabulary makes no token
    ids = gpt_oss.vocab.tokenize(text)
    assert text_of(ids, gpt_oss.vocab) == text
    assert len(ids) == len(text.encode())
    assert not set(ids) & gpt_oss.vocab.special_ids


@pytest.fixture
def forgetful(vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> Words:
    """One that has room for a hundred words."""
    monkeypatch.setattr(words, "_CACHED_WORDS", 100)
    made = Words.of(vocab, "gpt-4o")
    assert made is not None
    return made


def some_texts(count: int) -> list[str]:
    dice = random.Random(0)
    known = "".join(TEXTS.values()).split()
    return [" ".join(dice.choices(known, k=30)) for _ in range(count)]


def test_remembered_words_are_bounded_and_stay_right(forgetful: Words, encode: Encode) -> None:
    for text in some_texts(100):
        assert forgetful.tokenize(text) == encode(text), text
        assert len(forgetful._cache) <= 100


def test_a_text_of_more_words_than_are_remembered_is_right(forgetful: Words, encode: Encode) -> None:
    text = " ".join(f"word{n}{'x' * (n % 7)}" for n in range(500))
    for _ in range(2):
        assert forgetful.tokenize(text) == encode(text)
        assert forgetful.tokenize("word1 once more") == encode("word1 once more")


def test_threads_share_what_is_remembered(forgetful: Words, encode: Encode) -> None:
    texts = some_texts(100)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(forgetful.tokenize, texts)) == list(map(encode, texts))


def test_long_words_do_not_fill_the_memory(forgetful: Words) -> None:
    dice = random.Random(0)
    for _ in range(90):
        forgetful.tokenize("".join(dice.choices("acgt", k=5_000)))
    assert sum(map(len, forgetful._cache)) < 100_000


def test_a_split_that_is_not_known_is_left_to_llama_cpp(vocab: Vocabulary, smol: LlamaModel) -> None:
    assert Words.of(vocab, "smollm") is None
    assert smol.vocab.tokenize("Hello, world! 123") == smol.vocab.llama_tokenize("Hello, world! 123")


def test_all_pieces_are_those_read_singly(o200k: LlamaModel, gpt_oss: LlamaModel, smol: LlamaModel) -> None:
    for model in (o200k, gpt_oss, smol):
        assert model.vocab.pieces == list(map(model.vocab.piece, range(model.vocab.size)))


def test_many_kinds_of_blanks_have_the_tokens_of_each(vocab: Vocabulary, encode: Encode) -> None:
    dice = random.Random(0)
    text = "".join("".join(dice.choices(" \t\n\r\u3000", k=dice.randint(1, 9))) + "x" for _ in range(500))
    assert vocab.tokenize(text) == encode(text)


def test_nano_is_tokenized_as_by_llama_cpp() -> None:
    dice = random.Random(0)
    blanks = "".join("".join(dice.choices(" \n", k=dice.randint(1, 9))) + "is" for _ in range(500))
    with LlamaModel(DATA / "nano.gguf") as nano:
        for text in [blanks, *(text for kind, text in TEXTS.items() if "marker" not in kind)]:
            assert nano.vocab.tokenize(text) == nano.vocab.llama_tokenize(text)
