"""What treewalk tells people about incidents: reports as data, and the forms that they take. Pure but for templates."""

from treewalk.reporting.incident import incident
from treewalk.reporting.postmortem import document, postmortem, resolution

__all__ = ["document", "incident", "postmortem", "resolution"]
