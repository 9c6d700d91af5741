"""What a plan is made from and checked against: this machine, shapes of models, kernel tests, corrections."""
