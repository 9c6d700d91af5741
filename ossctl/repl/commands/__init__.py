"""What the slash commands do."""

from ossctl.repl.commands import answers, context, keeping, settings
from ossctl.repl.registry import Command, Registry
from ossctl.repl.repl import Repl


def all_commands() -> Registry[Repl]:
    """In the order of `/help`."""
    return Registry(
        [
            Command("/help", settings.help_, "What there is to know.", "[COMMAND]", kind="command"),
            Command(
                "/effort", settings.effort, "How much gpt-oss reasons.", "[low|medium|high]",
                choices=("low", "medium", "high"),
            ),
            Command(
                "/system", settings.system, "Instructions for the whole conversation; `off` for none.",
                "[TEXT|@FILE|off]",
            ),
            Command(
                "/model", settings.model, "Go on with another model.", "[MODEL]", kind="model"
            ),
            Command(
                "/reasoning", settings.reasoning, "Show the reasoning, fold it to a line, or hide it.",
                "[show|fold|hide]", choices=("show", "fold", "hide"),
            ),
            Command("/set", settings.set_, "Change how answers are drawn.", "[NAME [VALUE]]", kind="setting"),
            Command("/tools", settings.tools, "The functions that the model may call."),
            Command("/file", context.file, "Attach a text file to the next message.", "PATH", kind="path"),
            Command("/image", context.image, "Not possible: gpt-oss reads text only.", "[PATH]"),
            Command("/undo", answers.undo, "Take the last message and its answer back."),
            Command(
                "/retry", answers.retry, "Answer the last message again.", "[low|medium|high]",
                choices=("low", "medium", "high"), aliases=("/regenerate",),
            ),
            Command(
                "/edit", answers.edit, "Change a message, and go on from there.", "[N]", kind="turn"
            ),
            Command("/copy", answers.copy, "Copy the last answer."),
            Command(
                "/save", keeping.save, "Write the chat as Markdown, or as JSON.", "FILE", kind="path",
                aliases=("/export",),
            ),
            Command("/sessions", keeping.sessions, "The last chats, or those with some words.", "[WORDS]"),
            Command("/resume", keeping.resume, "Go on with another chat.", "ID", kind="session"),
            Command("/fork", keeping.fork, "Go on with a copy of this chat."),
            Command(
                "/clear", keeping.clear, "Begin a new chat; this one stays saved.", aliases=("/new", "/reset")
            ),
            Command("/context", context.context, "What the context is full of."),
            Command("/compact", context.compact, "Let the model summarise the oldest turns."),
            Command("/stats", context.stats, "Tokens and speed so far."),
            Command("/plan", context.plan, "How the model is placed in memory."),
            Command("/exit", keeping.exit_, "Leave; so does Ctrl-D.", aliases=("/quit", "/bye")),
        ]
    )  # fmt: skip
