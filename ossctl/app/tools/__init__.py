"""Functions that the model can call, and the user's programs that run them."""
