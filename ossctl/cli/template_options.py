"""The group of options for the chat template."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.options import is_configured
from ossctl.errors import UsageError

if TYPE_CHECKING:
    from ossctl.app.inference.template_options import TemplateOptions
    from ossctl.app.placement.load_options import ChatTemplate
    from ossctl.app.sessions.session_log import SavedSession


def template_options(
    *,
    context: typer.Context,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            metavar="FILE",
            show_default=False,
            help="Jinja file to use as the chat template instead of the model's own.",
        ),
    ] = None,
    template_variables: Annotated[
        list[str] | None,
        typer.Option(
            "--template-var",
            metavar="NAME=VALUE",
            show_default=False,
            help="Variable of the chat template, such as enable_thinking=false; can be repeated. "
            "VALUE is JSON, or text if it is not valid JSON.",
        ),
    ] = None,
) -> "TemplateOptions":
    """The chat template and its variables."""
    from ossctl.app.inference.template_options import TemplateOptions

    configured = is_configured(context, "template")
    return TemplateOptions(template, template_variables or (), is_default=configured)


def template_of(options: "TemplateOptions", resumed: "SavedSession | None") -> "ChatTemplate | None":
    """The template of the command line or else that of the chat which is continued. Raises UsageError."""
    if resumed is None or (options.file is not None and not options.is_default):
        return options.template()
    try:
        return replace(options, file=resumed.model.template).template()
    except UsageError as error:
        hint = "Give --template FILE, or --template '' for the model's own."
        raise UsageError(f"the chat template of {resumed.id}: {error.message}", hint) from None


TemplateGroup = Annotated["TemplateOptions", template_options]
