"""The findings of a run, as a table and as JSON."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.devices.finding import Finding, Verdict
from tools.devices.task import Task

SCHEMA = "ossctl.devices/1"
_COLOURS = {Verdict.OK: "green", Verdict.FAILED: "red", Verdict.LEFT_OUT: "yellow"}


@dataclass(frozen=True)
class Row:
    """A finding and what it is about. `seconds` is how long its process ran."""

    check: str
    model: str
    device: str
    placement: str
    verdict: Verdict
    message: str
    seconds: float
    figures: dict[str, Any]

    @classmethod
    def of(cls, task: Task, finding: Finding, seconds: float) -> "Row":
        return cls(
            check=finding.check,
            model=task.model,
            device=task.device,
            placement=str(task.placement) if task.model else "",
            verdict=finding.verdict,
            message=finding.message,
            seconds=round(seconds, 1),
            figures=finding.figures,
        )

    @property
    def line(self) -> str:
        about = " ".join(word for word in (self.check, self.model, self.device, self.placement) if word)
        return f"{about}: {self.verdict}, {self.message} ({self.seconds:.0f} s)"


@dataclass(frozen=True)
class Report:
    """`head` is the machine, llama.cpp and its devices; `seconds` how long all of it took."""

    head: dict[str, Any]
    rows: tuple[Row, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no check has failed; one at least has to have been made."""
        verdicts = {row.verdict for row in self.rows}
        return Verdict.OK in verdicts and Verdict.FAILED not in verdicts

    def write(self, path: Path) -> None:
        record = {
            "schema": SCHEMA,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            **self.head,
            "rows": [asdict(row) for row in self.rows],
        }
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def show(self) -> None:
        """The table on stdout, as wide as it needs where that is no terminal."""
        console = Console(width=None if Console().is_terminal else 200)
        table = Table(title=self._title(), title_justify="left")
        for name in ("check", "model", "device", "placement", "verdict"):
            table.add_column(name, no_wrap=True)
        table.add_column("finding", overflow="fold")
        table.add_column("s", justify="right")
        for row in self.rows:
            verdict = f"[{_COLOURS[row.verdict]}]{row.verdict}[/]"
            names = (row.check, row.model, row.device, row.placement)
            table.add_row(*names, verdict, row.message.replace("[", r"\["), f"{row.seconds:.0f}")
        console.print(table)

    def _title(self) -> str:
        machine, build = self.head.get("machine", {}), self.head.get("llama_cpp", {})
        counts = ", ".join(
            f"{sum(row.verdict is verdict for row in self.rows)} {verdict}" for verdict in Verdict
        )
        named = f"{machine.get('processor', '')}, llama.cpp {build.get('commit', '')}".replace("[", r"\[")
        return f"{named}: {counts}, in {self.seconds:.0f} s"
