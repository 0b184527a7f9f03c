"""The web side: start tasks, answer 202, and relay their events to browsers."""
