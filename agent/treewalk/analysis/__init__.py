"""Numbers that a diagnosis is made of: series put against their past, and how well a suspect accounts for them."""
