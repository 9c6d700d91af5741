"""The training of `nano`, the model that ships with the package: its data, shape, training and evaluation."""
