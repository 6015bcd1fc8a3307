"""`make bench`: what the way of a message costs, beside a bare relay, measured in turn in one run."""
