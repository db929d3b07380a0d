"""Advice on one's own tasks: which rank fine-tuning needs, and whether meta-learned retraining would help.

What a user may rely on is what this module names, imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from loraml_theory.lazy_names import lazy

if TYPE_CHECKING:
    from realdata.advisor.advising import Advice, advise
    from realdata.advisor.layer import AdviceSettings, LayerAdvice
    from realdata.advisor.tasks import Tasks, open_tasks

__getattr__, __dir__ = lazy(
    __name__,
    {
        "advising": "Advice advise",
        "layer": "AdviceSettings LayerAdvice",
        "tasks": "Tasks open_tasks",
    },
)

__all__ = ["Advice", "AdviceSettings", "LayerAdvice", "Tasks", "advise", "open_tasks"]
