"""Changes to llama.cpp's source, made before it is compiled."""

from dataclasses import dataclass
from pathlib import Path

from ossctl.build.errors import BuildError


@dataclass(frozen=True)
class Patch:
    """Replaces `before`, which occurs once in the file at `path`, by `after`."""

    path: str
    before: str
    after: str

    def apply(self, source: Path) -> None:
        """Change the file in the source tree `source`. Raises BuildError if it reads otherwise."""
        file = source / self.path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if text.count(self.before) != 1:
            hint = "This version of ossctl builds another release of llama-cpp-python."
            raise BuildError(f"{self.path} cannot be changed as planned", hint)
        file.write_text(text.replace(self.before, self.after), encoding="utf-8")


# llamafile's matrix multiplication sums in another order than the vector products that a single row gets. On
# x86, attention without flash attention then gives a token other bits if it is decoded together with others,
# as drafts are. For unquantised types it is as fast for a single row, so it computes that as well.
_SINGLE_ROWS = Patch(
    "vendor/llama.cpp/ggml/src/ggml-cpu/llamafile/sgemm.cpp",
    "    if (n < 2)\n        return false;\n#endif\n\n    if (Ctype",
    "    if (n < 2 && Atype != GGML_TYPE_F32 && Atype != GGML_TYPE_F16 && Atype != GGML_TYPE_BF16)\n"
    "        return false;\n#endif\n\n    if (Ctype",
)

PATCHES = (_SINGLE_ROWS,)
