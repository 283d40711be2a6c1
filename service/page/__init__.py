"""The live page: what operators look at in a browser."""
