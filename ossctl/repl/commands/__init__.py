"""The slash commands."""

from ossctl.repl.commands import (
    answers,
    context_use,
    functions,
    model_settings,
    presets,
    saved_chats,
    tool_servers,
)
from ossctl.repl.commands.help import help_
from ossctl.repl.registry import Command, Registry
from ossctl.repl.repl import Repl

_COMMANDS: tuple[Command[Repl], ...] = (
    Command("/help", help_, "List commands and keys.", "[COMMAND]", kind="command"),
    Command(
        "/effort", model_settings.effort, "Show or change the reasoning effort.", "[low|medium|high]",
        choices=("low", "medium", "high"),
    ),
    Command(
        "/system", model_settings.system, "Show or change the system prompt; `off` removes it.",
        "[TEXT|@FILE|off]",
    ),
    Command(
        "/preset", presets.preset, "List presets of the config files, or apply some.", "[NAME]...",
        kind="preset",
    ),
    Command(
        "/model", model_settings.model, "Show the model, or continue with another.", "[MODEL]", kind="model"
    ),
    Command(
        "/template", model_settings.template, "Show or replace the chat template; `off` is the model's own.",
        "[FILE|off]", kind="path",
    ),
    Command(
        "/reasoning", model_settings.reasoning, "Show reasoning, fold it to one line, or hide it.",
        "[show|fold|hide]", choices=("show", "fold", "hide"),
    ),
    Command(
        "/set", model_settings.set_, "Show or change sampling settings.", "[NAME [VALUE]]", kind="setting"
    ),
    Command("/tools", functions.tools, "List the functions that the model may call."),
    Command("/mcp", tool_servers.mcp, "List MCP servers, or search their functions.", "[WORDS]"),
    Command(
        "/python", functions.python, "Let the model run Python, or stop that.", "[on|off]",
        choices=("on", "off"),
    ),
    Command(
        "/file", context_use.file, "Attach a text file to the next message.", "PATH", kind="path"
    ),
    Command("/image", context_use.image, "Not supported: models get text only.", "[PATH]"),
    Command("/undo", answers.undo, "Take back the last message and its answer."),
    Command(
        "/retry", answers.retry, "Answer the last message again.", "[low|medium|high]",
        choices=("low", "medium", "high"), aliases=("/regenerate",),
    ),
    Command("/edit", answers.edit, "Edit a message and continue from there.", "[N]", kind="turn"),
    Command("/copy", answers.copy, "Copy the last answer to the clipboard."),
    Command(
        "/save", saved_chats.save, "Write the chat to a file, as Markdown or JSON.", "FILE",
        kind="path", aliases=("/export",),
    ),
    Command("/sessions", saved_chats.sessions, "List recent chats, or search them.", "[WORDS]"),
    Command("/resume", saved_chats.resume, "Continue another chat.", "ID", kind="session"),
    Command("/fork", saved_chats.fork, "Continue with a copy of this chat."),
    Command(
        "/clear", saved_chats.clear, "Start a new chat; this one stays saved.",
        aliases=("/new", "/reset"),
    ),
    Command("/context", context_use.context, "Show what fills the context."),
    Command("/compact", context_use.compact, "Have the model summarise the oldest turns."),
    Command("/stats", context_use.stats, "Show tokens and speed so far."),
    Command("/plan", context_use.plan, "Show how the model is placed in memory."),
    Command("/exit", saved_chats.exit_, "Leave; so does Ctrl-D.", aliases=("/quit", "/bye")),
)  # fmt: skip


def all_commands() -> Registry[Repl]:
    """In the order of `/help`."""
    return Registry(_COMMANDS)
