"""Plans: what they are, what they cost, and how the cheapest sound one is found."""
