"""The nouns of treewalk: frozen data and pure rules. No I/O, no clock, no randomness.

Times are Unix seconds as floats (UTC) everywhere below the edges; durations are seconds.
"""
