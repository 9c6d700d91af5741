"""The group of options for the chat template."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ossctl.app.inference.template_options import TemplateOptions


def template_options(
    *,
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

    return TemplateOptions(template, template_variables or ())


TemplateGroup = Annotated["TemplateOptions", template_options]
