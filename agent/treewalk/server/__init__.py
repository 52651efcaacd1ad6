"""`treewalk serve`: alerts come in over HTTP, incidents are worked on, and their state can be asked for."""
