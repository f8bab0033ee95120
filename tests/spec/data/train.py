raise RuntimeError("reading a study file must not import the training code")
