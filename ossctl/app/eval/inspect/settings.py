"""What the requests of one of Inspect's models have in common."""

from dataclasses import dataclass, field, replace

from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import check_template_variables, supported_reasoning
from ossctl.app.local_date import local_date
from ossctl.app.tools.toolbox import Toolbox


@dataclass(frozen=True)
class ProviderSettings:
    """Defaults of requests, and functions that run here, as in a batch.

    A request without a seed gets one that depends on `defaults.sampling.seed`, what is asked, and the epoch.
    """

    defaults: Defaults = field(default_factory=Defaults)
    tools: Toolbox = field(default_factory=Toolbox)

    def for_model(self, model: LoadedModel) -> "ProviderSettings":
        """The settings with the model's own defaults. Raises UsageError for what it does not support."""
        defaults = supported_reasoning(self.defaults, model, self.defaults.optional)
        check_template_variables(defaults.template_variables, model)
        defaults = replace(
            defaults,
            effort=defaults.effort or model.dialect.default_effort,
            today=defaults.today or local_date(),
            tools=self.tools.offered,
        )
        return replace(self, defaults=defaults)
