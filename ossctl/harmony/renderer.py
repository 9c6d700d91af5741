"""Rendering Harmony messages to token ids."""

import functools
import re
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import Lock

from ossctl.harmony.layout import HarmonyMessage
from ossctl.harmony.markers import Markers, Tokenizer

_CONSTRAIN = "<|constrain|>"
_TO = re.compile(rb"to=([A-Za-z0-9_.-]*)")
_MAX_CACHED_TOKENS = 500_000  # of message texts, 2 MB, and about as much for the texts
_ENTRY_TOKENS = 64  # what a text costs besides its tokens: short ones would add up to 80 MB


class _Contents:
    """Tokenizes message texts and caches the most recent ones, because every turn renders them again.

    Threads may share it. The lock guards the cache only: tokenizing runs outside of it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = Lock()
        self._cache: OrderedDict[str, array[int]] = OrderedDict()  # least recently used first
        self._n_tokens = 0

    def tokenize_all(self, texts: Sequence[str]) -> "list[array[int]]":
        """Token ids of each text."""
        with self._lock:
            found = {text: self._cache[text] for text in texts if text in self._cache}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for text, ids in zip(missing, self._tokenizer.tokenize_all(missing), strict=True):
            found[text] = array("i", ids)
        with self._lock:
            for text in texts:
                self._touch(text, found[text])
            while self._n_tokens > _MAX_CACHED_TOKENS:
                _, oldest = self._cache.popitem(last=False)
                self._n_tokens -= len(oldest) + _ENTRY_TOKENS
        return [found[text] for text in texts]

    def _touch(self, text: str, ids: "array[int]") -> None:
        if text not in self._cache:
            self._cache[text] = ids
            self._n_tokens += len(ids) + _ENTRY_TOKENS
        self._cache.move_to_end(text)


class Renderer:
    """Renders messages with a model's tokens. Text never becomes a control token."""

    def __init__(self, tokenizer: Tokenizer, markers: Markers) -> None:
        self._tokenizer = tokenizer
        self._markers = markers
        self._contents = _Contents(tokenizer)
        self._known = functools.lru_cache(maxsize=256)(tokenizer.tokenize)  # the few words of headers

    def prompt(self, messages: Iterable[HarmonyMessage]) -> list[int]:
        """The messages, and the start of the assistant message that follows."""
        return [*self._all(messages), self._markers.start, *self._known("assistant")]

    def prefix(self, messages: Iterable[HarmonyMessage]) -> list[int]:
        """The messages, and the header of the user message that follows."""
        return [*self._all(messages), self._markers.start, *self._known("user"), self._markers.message]

    def header(self, channel: str, recipient: str = "", content_type: str = "") -> list[int]:
        """A header as the model writes it after `<|start|>assistant`, up to the content."""
        to = f" to={recipient}" if recipient else ""
        space = " " if content_type.startswith(_CONSTRAIN) else ""
        ids = [self._markers.channel, *self._known(f"{channel}{to}{space}")]
        return [*ids, *self._content_type(content_type), self._markers.message]

    def split(self, token_ids: Sequence[int]) -> list[HarmonyMessage]:
        """Split the token ids of an answer into messages; [] if any is malformed.

        A call ends with `<|call|>` and any other message with `<|end|>`, even if it was cut off.
        """
        opening = [self._markers.start, *self._known("assistant")]
        messages = []
        rest = list(token_ids)
        while rest:
            end = next((at for at, token in enumerate(rest) if token in self._ends), len(rest))
            message = self._plain_message(rest[:end], call=rest[end : end + 1] == [self._markers.call])
            if message is None:
                return []
            messages.append(message)
            rest = rest[end + 1 :]
            if rest:
                if rest[: len(opening)] != opening:
                    return []
                rest = rest[len(opening) :]
        return messages

    @functools.cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset((self._markers.end, self._markers.call, self._markers.done))

    def _plain_message(self, ids: list[int], *, call: bool) -> HarmonyMessage | None:
        """The message with these ids before its end; None if its markers or its channel are malformed."""
        markers = self._markers
        special = tuple(token for token in ids if token in self._tokenizer.special_ids)
        plain = (markers.channel, markers.message)
        if special not in (plain, (markers.channel, markers.constrain, markers.message)):
            return None
        header = ids[ids.index(markers.channel) + 1 : ids.index(special[1])]
        channel = b"".join(map(self._tokenizer.piece, header)).decode("utf-8", "replace").split(maxsplit=1)
        if not channel or channel[0] not in ("analysis", "commentary", "final"):
            return None
        to = _TO.search(b"".join(map(self._tokenizer.piece, ids[: ids.index(markers.message)])))
        end = markers.call if call or to else markers.end
        return HarmonyMessage(
            "assistant", "", channel[0], to[1].decode() if to else "", token_ids=(*ids, end)
        )

    def _all(self, messages: Iterable[HarmonyMessage]) -> list[int]:
        ids: list[int] = []
        written = list(messages)
        contents = self._contents.tokenize_all([message.content for message in written])
        for message, content in zip(written, contents, strict=True):
            self._write(message, content, ids)
        return ids

    def _write(self, message: HarmonyMessage, content: Sequence[int], ids: list[int]) -> None:
        ids.append(self._markers.start)
        ids += self._known(message.author)
        if message.token_ids:
            ids += message.token_ids
            return
        if message.recipient:
            ids += self._known(f" to={message.recipient}")
        if message.channel:
            ids.append(self._markers.channel)
            ids += self._known(message.channel)
        if message.content_type:
            ids += self._known(" ") if message.content_type.startswith(_CONSTRAIN) else []
            ids += self._content_type(message.content_type)
        ids.append(self._markers.message)
        ids += content
        calls = message.author == "assistant" and message.recipient
        ids.append(self._markers.call if calls else self._markers.end)

    def _content_type(self, content_type: str) -> list[int]:
        if content_type.startswith(_CONSTRAIN):
            rest = content_type.removeprefix(_CONSTRAIN)
            return [self._markers.constrain, *(self._known(rest) if rest else [])]
        return list(self._known(f" {content_type}")) if content_type else []
