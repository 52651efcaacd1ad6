"""A check."""

from treewalk import Probe, Verdict, check, healthy


@check("mine")
async def mine(probe: Probe) -> Verdict:
    """Always well."""
    return healthy("yes")
