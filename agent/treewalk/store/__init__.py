"""What treewalk remembers, behind the Store protocol."""
