"""What a batch prints: progress, its summary, a dry run, the status of its output, and a join."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ossctl.cli.output import Output
from ossctl.text import duration, harmless

if TYPE_CHECKING:
    from ossctl.app.batch.dry_run import DryRun
    from ossctl.app.batch.join import Joined
    from ossctl.app.batch.status import BatchStatus
    from ossctl.app.batch.summary import BatchSummary, SiteProgress

_SECONDS_BETWEEN_LINES = 10.0
_FRAMES_PER_SECOND = 4
_MAX_GAPS = 8
_MAX_SITES = 8  # in the live view
_MAX_REASONS = 3


def describe(summary: "BatchSummary", total: int | None) -> str:
    """`12 of 20 done, 1 failed · 345 tokens in, 678 out · 96.1 tokens/s`"""
    if summary.embedded:
        speed = f"{summary.prompt_tokens_per_second:,.1f} tokens/s{_latency(summary)}"
        tokens = f"{summary.prompt_tokens:,} tokens in {summary.embedded:,} texts"
        return f"{_counts(summary, total)} · {tokens} · {speed}"
    return (
        f"{_counts(summary, total)} · {summary.prompt_tokens:,} tokens in{_cached(summary)}, "
        f"{summary.completion_tokens:,} out{_accepted(summary)} · "
        f"{summary.tokens_per_second:,.1f} tokens/s{_latency(summary)}"
        f"{_energy(summary)}"
    )


def _counts(summary: "BatchSummary", total: int | None) -> str:
    of = "" if total is None else f" of {total:,}"
    failed = f", {summary.failed:,} failed" if summary.failed else ""
    skipped = f", {summary.skipped:,} skipped" if summary.skipped else ""
    changed = f", {summary.changed:,} changed" if summary.changed else ""
    return f"{summary.done:,}{of} done{failed}{skipped}{changed}"


def _cached(summary: "BatchSummary") -> str:
    return f" ({summary.cached_tokens:,} cached)" if summary.cached_tokens else ""


def _accepted(summary: "BatchSummary") -> str:
    return f" ({summary.accepted_tokens:,} from drafts)" if summary.accepted_tokens else ""


def _latency(summary: "BatchSummary") -> str:
    if not summary.latency.count:
        return ""
    p50, p99 = (summary.latency.percentile(percent) for percent in (50, 99))
    return f" · latency p50 {p50:,.1f} s, p99 {p99:,.1f} s"


def _energy(summary: "BatchSummary") -> str:
    """` · 1.25 Wh, 0.31 per 1,000 tokens`"""
    if summary.energy is None or not summary.completion_tokens:
        return ""
    wh = summary.energy.wh
    return f" · {wh:,.3g} Wh, {1000 * wh / summary.completion_tokens:,.3g} per 1,000 tokens"


class PlainProgress:
    """Prints a line every ten seconds."""

    def __init__(self, total: int | None, out: Output) -> None:
        self._total, self._out = total, out
        self._next = _SECONDS_BETWEEN_LINES

    def watch(self, summary: "BatchSummary") -> None:
        if summary.seconds >= self._next:
            self._next = summary.seconds + _SECONDS_BETWEEN_LINES
            self._out.note(f"{describe(summary, self._total)} · {summary.seconds:,.0f} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveProgress:
    """Shows two lines: counts, bar and time left; speed, cached share and the slowest request.

    If there are sites, each has one more line. They appear with the first call of `watch`.
    """

    def __init__(self, total: int | None, out: Output) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.table import Column
        from rich.text import Text

        whole = Column(no_wrap=True)
        bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=8))
        left = (bar, TimeRemainingColumn(compact=True, table_column=whole), TextColumn("left"))
        console = out.console()
        self._total = total
        self._progress = Progress(
            TextColumn("{task.description}", table_column=whole),
            *((TimeElapsedColumn(),) if total is None else left),
            console=console,
            expand=total is not None,
        )
        self._task = self._progress.add_task("", total=total)
        self._speed = Text("", no_wrap=True, overflow="ellipsis", style="dim")
        self._live = Live(
            Group(self._progress, self._speed),
            console=console,
            transient=True,
            refresh_per_second=_FRAMES_PER_SECOND,
        )

    def watch(self, summary: "BatchSummary") -> None:
        running = f", {summary.running:,} running" if summary.running else ""
        self._progress.update(
            self._task,
            completed=summary.finished,
            description=f"{_counts(summary, self._total)}{running}",
        )
        self._speed.plain = _speed(summary)
        self._live.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.refresh()
        self._live.stop()


def _speed(summary: "BatchSummary") -> str:
    """`96.1 tokens/s out, 345.0 in (62 % cached) · slowest 12 s: q17`, and a line for each site"""
    share = summary.cached_tokens / summary.prompt_tokens if summary.prompt_tokens else 0
    text = (
        f"{summary.tokens_per_second:,.1f} tokens/s out, {summary.prompt_tokens_per_second:,.1f} in "
        f"({share:.0%} cached)"
    )
    if summary.slowest is not None:
        custom_id, age = summary.slowest
        text += f" · slowest {duration(age)}: {harmless(custom_id[:40])}"
    shown = [_site(site, summary.seconds) for site in summary.sites[:_MAX_SITES]]
    if others := summary.sites[_MAX_SITES:]:
        shown.append(f"… and {len(others):,} more, {sum(site.lines for site in others):,} lines")
    return "\n".join([text, *shown])


def _site(site: "SiteProgress", seconds: float) -> str:
    """`engine 1: 12 lines, 96.1 tokens/s, died 2 times: killed by SIGKILL`"""
    pace = f", {site.tokens / seconds:,.1f} tokens/s" if seconds and site.tokens else ""
    lines = "1 line" if site.lines == 1 else f"{site.lines:,} lines"
    return harmless(f"{site.name}: {lines}{pace}{_fate(site)}")


def _fate(site: "SiteProgress") -> str:
    if site.left_out:
        return f", left out: {site.deaths[-1]}"
    if not site.deaths:
        return ""
    times = "once" if len(site.deaths) == 1 else f"{len(site.deaths):,} times"
    reasons = Counter(site.deaths).most_common(_MAX_REASONS)
    why = [reason if len(reasons) == 1 else f"{reason} ({count:,})" for reason, count in reasons]
    return f", died {times}: {', '.join(why)}"


def batch_progress(total: int | None, out: Output, *, to_stdout: bool) -> PlainProgress | LiveProgress:
    """The kind of progress that stderr can show; plain lines if the answers go to the same terminal."""
    shares_terminal = to_stdout and out.on_terminal
    return LiveProgress(total, out) if out.is_live and not shares_terminal else PlainProgress(total, out)


def dry_run_lines(found: "DryRun") -> Iterator[str]:
    """The lines of `ossctl batch --dry-run`."""
    from ossctl.cli.plan_view import in_one_line

    wrong = found.errors.total()
    total = found.valid + wrong + found.skipped
    skipped = f", {found.skipped:,} already finished" if found.skipped else ""
    yield f"requests  {total:,}: {found.valid:,} to answer, {wrong:,} invalid{skipped}"
    for line, message in found.first_errors:
        yield f"          line {line}: {message}"
    if wrong > len(found.first_errors):
        yield f"          … and {wrong - len(found.first_errors):,} more"
    yield (
        f"prompts   {found.prompt_tokens:,} tokens, {found.shared_tokens:,} in shared prefixes; "
        f"longest {found.longest_prompt:,}"
    )
    unlimited = f"; {found.unlimited:,} requests without a limit" if found.unlimited else ""
    yield f"answers   up to {found.answer_tokens:,} tokens{unlimited}"
    if found.plan is not None:
        yield f"plan      {in_one_line(found.plan)}, {found.plan.settings.parallel} in parallel"
    speed = found.speed
    yield f"speed     prompts {speed.prompt:,.0f} tokens/s, answers {speed.answer:,.0f} tokens/s (measured)"
    prompts, answers = duration(found.prompt_seconds), duration(found.answer_seconds)
    yield f"time      prompts {prompts}, answers up to {answers}"


def status_lines(status: "BatchStatus") -> Iterator[str]:
    """The lines of `ossctl batch status`."""
    of = "" if status.total is None else f" of {status.total:,}"
    codes = ", ".join(f"{count:,} {code}" for code, count in status.errors.most_common())
    failed = f", {status.failed:,} failed ({codes})" if status.failed else ""
    speed = status.tokens_per_second
    pace = "" if speed is None else f" · {speed:,.1f} tokens/s"
    yield (
        f"{status.done:,}{of} done{failed} · {status.prompt_tokens:,} tokens in, "
        f"{status.completion_tokens:,} out{pace}"
    )
    if status.running:
        left = status.seconds_left
        yield "running" + ("" if left is None else f", {duration(left)} left")
    elif status.total is None or status.done + status.failed < status.total:
        yield "not running; --resume continues it"
    if status.others:
        are = "record in it is of a request" if status.others == 1 else "records in it are of requests"
        yield f"{status.others:,} {are} that the input does not have"
    for site in status.run.sites:
        yield _site(site, status.run.seconds)
    if status.torn and not status.running:
        yield "its end is cut off; --resume repairs it"


def joined(result: "Joined") -> str:
    """`18 of 20 joined, 1 failed, 2 missing`"""
    failed = f", {result.failed:,} failed" if result.failed else ""
    missing = f", {result.missing:,} missing" if result.missing else ""
    return f"{result.total - result.missing:,} of {result.total:,} joined{failed}{missing}"


def join_lines(result: "Joined", target: Path | None) -> Iterator[str]:
    """The remarks of `ossctl batch join`."""
    for path in result.absent:
        yield f"{path} does not exist"
    for path in result.torn:
        yield f"{path}: its end is cut off; all complete records were read"
    if result.missing:
        continued = f"continue {target or 'the output'} with ossctl batch --resume"
        yield f"missing: {_first(result.missing_ids, result.missing)}; {continued}"
    for gap in result.gaps[:_MAX_GAPS]:
        where = "no output has any" if gap.output is None else f"in {gap.output}"
        yield f"missing of shard {gap.shard}: {gap.missing:,} of {gap.total:,}, {where}"
    if others := result.gaps[_MAX_GAPS:]:
        yield f"missing of {len(others):,} more shards: {sum(gap.missing for gap in others):,}"
    if result.failed:
        yield f"{result.failed:,} failed: use --resume --retry-failed to run them again"
    if result.repeated:
        yield f"{result.repeated:,} answered in several outputs: the last one given counts"
    if result.strangers:
        yield f"left out, of no request: {_first(result.stranger_ids, result.strangers)}"
    if len(result.models) > 1:
        models = ", ".join(f"{harmless(name)} ({count:,})" for name, count in result.models.most_common())
        yield f"answers are of several models: {models}"


def _first(ids: Sequence[str], count: int) -> str:
    """`12 (a, b, c, …)`"""
    more = ", …" if count > len(ids) else ""
    return f"{count:,} ({', '.join(harmless(each[:40]) for each in ids)}{more})"
