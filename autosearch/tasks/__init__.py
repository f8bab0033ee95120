"""Tasks: what a trial executes, the user's own code included."""
