"""One process per nation: takes in, decides, seals, sends; receives, verifies, delivers. See broker/README.md."""
