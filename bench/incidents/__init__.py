"""Generated incidents with a known culprit, and how well treewalk finds it."""
