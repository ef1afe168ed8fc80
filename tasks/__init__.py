"""One folder a stage, and the rooms that stages share."""
