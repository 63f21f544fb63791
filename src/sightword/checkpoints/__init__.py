"""Files to models and back: the contract, one file a family."""
