"""What an incident is worked on with, step by step; `pipeline.py` tells the story."""
