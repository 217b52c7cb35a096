"""The MNIST images as IDX files, with their attribution in README.md."""
