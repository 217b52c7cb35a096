"""The MNIST data set, packaged and of the user's own."""

import copy
import pickle

import numpy as np
import pytest

from nodepert.envs import ConfigError, DatasetError, mnist_data
from nodepert.envs.mnist_data import load_examples


class TestPackaged:
    @pytest.mark.parametrize(("split", "size"), [("train", 60_000), ("test", 10_000)])
    def test_size(self, split, size):
        examples = load_examples(split=split)
        assert examples.images.shape == (size, 784)
        assert examples.labels.shape == (size,)

    def test_it_is_mnist(self):
        train, test = load_examples(split="train"), load_examples(split="test")
        assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
        assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
        assert train.images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)  # widely quoted
        assert train.images.std() / 255 == pytest.approx(0.3081, abs=1e-4)
        assert np.bincount(test.labels).tolist() == [
            980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
        ]  # fmt: skip

    def test_validation_is_the_last_5000_and_holdout_leaves_them_out(self):
        train = load_examples(split="train")
        validation = load_examples(split="validation")
        rest = load_examples(split="train", holdout=True)
        assert (len(validation), len(rest)) == (5000, 55_000)
        np.testing.assert_array_equal(validation.images, train.images[-5000:])
        np.testing.assert_array_equal(rest.labels, train.labels[:-5000])

    def test_arrays_are_shared_and_read_only(self):
        one, other = load_examples(), load_examples(split="validation")
        assert np.shares_memory(one.images, other.images)
        for array in (one.images, one.labels, other.images):
            assert not array.flags.writeable

    def test_pickle_and_deepcopy_hold_no_images(self):
        examples = load_examples(split="validation")
        stored = pickle.dumps(examples)
        assert len(stored) < 300
        for twin in (pickle.loads(stored), copy.deepcopy(examples)):
            assert np.shares_memory(twin.images, examples.images)
            assert len(twin) == 5000

    def test_a_changed_file_is_noticed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(mnist_data, "PACKAGED", tmp_path)
        for name in mnist_data.SHA256:
            (tmp_path / name).write_bytes(b"changed")
        with pytest.raises(DatasetError, match=r"found SHA-256 .* expected .*: reinstall"):
            load_examples()


@pytest.mark.parametrize("pack", [False, True], ids=["raw", "gzip"])
@pytest.mark.parametrize("as_text", [False, True])
def test_folder_of_ones_own(write_mnist, pack, as_text):
    root = write_mnist(pack=pack)
    examples = load_examples(str(root) if as_text else root)
    assert examples.images.shape == (36, 20)
    assert examples.labels.tolist() == [n % 10 for n in range(36)]
    assert len(load_examples(root, "test")) == 12
    assert len(load_examples(root, "validation")) == 3
    assert len(load_examples(root, holdout=True)) == 33


def test_rewritten_files_are_read_again(write_mnist):
    assert len(load_examples(write_mnist((36, 12)))) == 36
    assert len(load_examples(write_mnist((24, 12)))) == 24


def test_pixels_are_fresh_numbers_from_0_to_1(write_mnist):
    examples, rows = load_examples(write_mnist()), np.array([3, 3, 0])
    pixels = examples.pixels(rows)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, examples.images[rows].astype(np.float32) / 255)
    assert not np.shares_memory(pixels, examples.pixels(rows))


def test_unknown_split():
    with pytest.raises(ConfigError, match="split='dev': expected one of 'train', 'test', 'val"):
        load_examples(split="dev")


def test_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such folder, expected a folder of IDX"):
        load_examples(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_missing_file(write_mnist, name):
    root = write_mnist()
    (root / name).unlink()
    with pytest.raises(DatasetError, match=rf"{name}: no such file, expected it or {name}\.gz"):
        load_examples(root)
    assert len(load_examples(root, "test")) == 12


def test_counts_that_differ(write_mnist):
    with pytest.raises(DatasetError, match=r"train-labels.*: found 35 labels, expected 36"):
        load_examples(write_mnist(labels=[0] * 35))


def test_labels_outside_0_to_9(write_mnist):
    root = write_mnist(labels=[1, 2, 10, *[0] * 33])
    with pytest.raises(
        DatasetError, match=r"labels.*: found label 10 at row 2, expected .* 0 to 9"
    ):
        load_examples(root)


@pytest.mark.parametrize("sizes", [(0, 0), (1, 1)])
def test_too_few_examples(write_mnist, sizes):
    with pytest.raises(DatasetError, match=r"expected some pixels|no examples left"):
        load_examples(write_mnist(sizes), holdout=True)


def test_images_without_pixels(write_mnist):
    with pytest.raises(DatasetError, match=r"found shape \(36, 0, 5\), expected some pixels"):
        load_examples(write_mnist(side=(0, 5)))
