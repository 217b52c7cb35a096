"""The IDX reader: what it reads, and each way in which a file can be wrong."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nodepert.envs import DatasetError
from nodepert.envs.idx import read_idx


def idx_bytes(values):
    """A file in the format, from the specification."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


def read_or_error(path):
    """The array and no error, or no array and the message of the error."""
    try:
        return read_idx(path, 3), ""
    except DatasetError as error:
        return None, str(error)


VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
WHOLE = idx_bytes(VALUES)


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)),
    pack=st.booleans(),
)
def test_reads_what_was_written(values, pack, tmp_path_factory):
    path = tmp_path_factory.mktemp("idx") / "file"
    content = idx_bytes(values)
    path.write_bytes(gzip.compress(content, 1) if pack else content)
    found = read_idx(path, values.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)
    assert not found.flags.writeable


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=64), start=st.integers(0, len(WHOLE)), pack=st.booleans())
def test_any_other_bytes_are_a_dataset_error_or_an_array(content, start, pack, tmp_path_factory):
    path = tmp_path_factory.mktemp("idx") / "file"
    content = WHOLE[:start] + content
    path.write_bytes(gzip.compress(content, 1) if pack else content)
    found, message = read_or_error(path)
    if found is None:
        assert message.startswith(f"{path}: ")
        assert "expected" in message
    else:
        assert idx_bytes(found) == content


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_gzip_file_never_gives_wrong_data(place, bit, tmp_path_factory):
    content = bytearray(gzip.compress(WHOLE, mtime=0))
    content[place % len(content)] ^= 1 << bit
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content)
    found, message = read_or_error(path)
    if found is None:
        assert message.startswith(f"{path}: ")
    else:  # a flip in the name or the time in gzip's own header
        np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("pack", [False, True], ids=["raw", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file.*expected 0x00000803"),
        (WHOLE[:3], "found magic number 0x000008, expected 0x00000803"),
        (b"\x00\x00\x08\x01" + WHOLE[4:], "found magic number 0x00000801, expected 0x00000803"),
        (b"\x00\x00\x0d\x03" + WHOLE[4:], "found magic number 0x00000d03, expected 0x00000803"),
        (b"\x89PNG\r\n", "found magic number 0x89504e47"),
        (WHOLE[:10], "found 6 bytes of axis sizes, expected 12: the file is truncated"),
        (WHOLE[:-5], r"found 19 bytes of content, expected 24.*\(2, 3, 4\).*truncated"),
        (WHOLE + b"x", "found more bytes of content, expected 24.*trailing bytes"),
    ],
)
def test_wrong_content(write, content, message, pack):
    path = write(gzip.compress(content) if pack else content)
    with pytest.raises(DatasetError, match=f"{path}: .*{message}"):
        read_idx(path, 3)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(WHOLE)[:-9],
        gzip.compress(WHOLE)[:-8] + b"\0\0\0\0" + gzip.compress(WHOLE)[-4:],
        gzip.compress(WHOLE) + b"garbage",
        gzip.compress(WHOLE)[:12] + b"\xff\xff\xff" + gzip.compress(WHOLE)[15:],
    ],
    ids=["truncated", "checksum", "trailing", "stream"],
)
def test_damaged_gzip(write, content):
    path = write(content)
    with pytest.raises(DatasetError, match=f"{path}: found damaged gzip.*expected a whole gzip"):
        read_idx(path, 3)


def test_missing_file(tmp_path):
    with pytest.raises(DatasetError, match="nothing: no such file, expected"):
        read_idx(tmp_path / "nothing", 3)


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(DatasetError, match="can't be read, expected an IDX file"):
        read_idx(tmp_path, 3)


@pytest.mark.parametrize("pack", [False, True], ids=["raw", "gzip"])
def test_a_header_that_lies_takes_no_memory(write, pack):
    lie = bytes([0, 0, 8, 3]) + struct.pack(">3I", *[2**32 - 1] * 3) + bytes(100)
    path = write(gzip.compress(lie) if pack else lie)
    tracemalloc.start()
    with pytest.raises(DatasetError, match="found 100 bytes of content"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_a_gzip_file_that_unpacks_to_more_than_its_header_says_is_not_unpacked(write):
    path = write(gzip.compress(WHOLE + bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DatasetError, match="trailing bytes"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
