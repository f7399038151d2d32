"""The counterfactual: the same models trained from scratch, without the forgotten records."""
