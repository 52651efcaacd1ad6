"""What treewalk does about incidents, wired up for the command line, the server and the chat."""
