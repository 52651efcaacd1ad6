"""A check."""

from treewalk import Probe, Verdict, check, healthy


@check("mine")
async def mine(probe: Probe, host: str) -> Verdict:
    """Always well."""
    return healthy("yes")
