"""What fits where: this machine, the shapes of models, how a load is corrected."""
