"""What is wrong with an environment, in words, and which ways of learning it supports."""
