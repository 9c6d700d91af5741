"""The text that is copied to measure what drafts gain."""

from ossctl.app.bench.copying import SENTENCES, copy_of


def test_the_text_is_as_long_as_time_allows() -> None:
    def tokenize(text: str) -> list[int]:
        return [*text.encode()]

    whole = copy_of(tokenize, 10_000, 10_000)
    half = copy_of(tokenize, 1000, 128)
    assert whole is not None
    assert half is not None
    text = bytes(whole.prompt).decode()
    assert text.count(SENTENCES[-1]) == 2
    assert bytes(half.prompt).decode().count(SENTENCES[-1]) == 0
    assert half.generated_tokens == 128
    rest = len(text) - 2 * (text.index("\n\n") + 2)  # of the third time
    assert whole.generated_tokens <= text.index("\n\n") - rest
    assert copy_of(tokenize, 100, 128) is None
