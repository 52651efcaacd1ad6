"""Files become the nouns: a workspace is read whole, and every error in it is told at once."""
