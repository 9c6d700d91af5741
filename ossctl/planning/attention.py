"""The cost of flash attention and of plain attention on the CPU."""

from dataclasses import dataclass

USUAL_TOKENS = 500  # of a prompt or an answer of unknown length


@dataclass(frozen=True)
class AttentionCosts:
    """Seconds per head, token and KV cell, for prefill (many tokens at once) and decode (one at a time)."""

    prefill_flash: float
    prefill_plain: float
    decode_flash: float
    decode_plain: float

    def prefers_plain(self, prompt_tokens: int, answer_tokens: int) -> bool:
        """Whether a request takes less time with plain attention. Every token attends to all before it."""
        prefill = prompt_tokens**2 / 2  # pairs of a token and a cell
        decode = answer_tokens * (prompt_tokens + answer_tokens / 2)
        prefill_gain = prefill * (self.prefill_flash - self.prefill_plain)
        decode_gain = decode * (self.decode_flash - self.decode_plain)
        return prefill_gain + decode_gain > 0


# Used until they are measured: two cores of a Xeon with AVX-512 (llama-cpp-python 0.3.36).
USUAL_COSTS = AttentionCosts(5.9e-9, 8.6e-9, 83e-9, 24.5e-9)
