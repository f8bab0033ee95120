"""One folder for each published method; none has privileges that a plug-in of a user has not."""
