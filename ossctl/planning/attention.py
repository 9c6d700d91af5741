"""Which attention a CPU computes sooner: llama.cpp's flash attention, or plain products with all scores."""

from dataclasses import dataclass

USUAL_TOKENS = 500  # of a question or an answer of which nothing is known


@dataclass(frozen=True)
class AttentionCosts:
    """Seconds a head, token and cell: reading a prompt, many tokens at once, and writing, one at a time."""

    read_flash: float
    read_plain: float
    write_flash: float
    write_plain: float

    def prefers_plain(self, reads: int, writes: int) -> bool:
        """Whether plain attention is sooner done with a request that reads so many tokens and then writes so
        many. Each attends to all before it."""
        reading = reads * reads / 2 * (self.read_plain - self.read_flash)
        writing = writes * (reads + writes / 2) * (self.write_plain - self.write_flash)
        return reading + writing < 0


# Where nothing has been measured yet: two cores of a Xeon with AVX-512 (llama-cpp-python 0.3.36).
USUAL_COSTS = AttentionCosts(5.9e-9, 8.6e-9, 83e-9, 24.5e-9)
