"""One file a step, in the order of the story: intake, walk, gather, match, rank, report; and impact.

Stages do not import one another: they meet in pipeline.py.
"""
