"""Frames for people to look at: pure functions that give (height, width, 3) arrays of uint8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "bars", "beside", "canvas", "enlarge", "picture", "raster", "text"]

Frame = NDArray[np.uint8]

WHITE, GREY, DARK = (255, 255, 255), (225, 225, 225), (90, 90, 90)
GREEN, RED, BLUE = (40, 150, 70), (200, 50, 40), (40, 90, 200)
GAP = 8  # pixels between the parts of a frame

# 3 × 5 dots a letter, row by row.
GLYPHS = {
    "0": "111101101101111", "1": "010110010010111", "2": "111001111100111",
    "3": "111001111001111", "4": "101101111001001", "5": "111100111001111",
    "6": "111100111101111", "7": "111001010010010", "8": "111101111101111",
    "9": "111101111001111", "A": "010101111101101", "B": "110101110101110",
    "E": "111100110100111", "G": "111100101101111", "I": "111010010010111",
    "O": "111101101101111", "P": "111101111100100", "R": "110101110101101",
    "T": "111010010010010", "U": "101101101101111",
}  # fmt: skip


def canvas(height: int, width: int, colour: Sequence[int] = WHITE) -> Frame:
    """A frame of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def enlarge(frame: Frame, factor: int) -> Frame:
    """Each pixel as a square of ``factor`` × ``factor``."""
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def picture(pixels: NDArray[Any], side: int = 280) -> Frame:
    """Grey levels (h, w) from 0 to 1, cut off there, enlarged to at most ``side`` pixels."""
    grey = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    return enlarge(np.stack([grey] * 3, axis=2), max(1, side // max(grey.shape)))


def text(words: str, factor: int = 3) -> Frame:
    """Dark capitals and digits, those of :data:`GLYPHS`, on white."""
    dots = [np.array([*GLYPHS[letter]], np.int64).reshape(5, 3) for letter in words]
    ink = np.concatenate([np.pad(one, ((0, 0), (0, 1))) for one in dots], axis=1)
    return enlarge(np.array([WHITE, DARK], np.uint8)[ink], factor)


def beside(*frames: Frame) -> Frame:
    """Frames from left to right on white, with a gap around each."""
    height = max(len(frame) for frame in frames) + 2 * GAP
    whole = canvas(height, GAP + sum(frame.shape[1] + GAP for frame in frames))
    left = GAP
    for frame in frames:
        top = (height - len(frame)) // 2
        whole[top : top + len(frame), left : left + frame.shape[1]] = frame
        left += frame.shape[1] + GAP
    return whole


def bars(values: NDArray[Any], colours: Sequence[Sequence[int]], width: int = 140) -> Frame:
    """Numbered bars, one below the other; −1 is the left edge, 0 the middle, 1 the right edge.

    Args:
        values: (n,), n at most 10; cut off at ±1.
        colours: Of each bar, n.
        width: Pixels from −1 to 1.
    """
    height, middle = 28, width // 2
    rows = []
    for number, (value, colour) in enumerate(zip(values, colours, strict=True)):
        bar = canvas(height, width)
        end = middle + round(middle * float(np.clip(value, -1, 1)))
        bar[4:-4, min(middle, end) : max(middle, end)] = colour
        bar[:, middle] = DARK
        label = canvas(height, 16)
        label[6:21, :12] = text(str(number))
        rows.append(np.concatenate([label, bar], axis=1))
    return np.concatenate(rows)


def raster(rows: Mapping[str, NDArray[Any]], cell: int = 24) -> Frame:
    """Named rows of squares: 1 is blue, 0 white, −1 red, and what is NaN is not there yet.

    Args:
        rows: (columns,) each, cut off at ±1.
        cell: Pixels of a square's side.
    """
    return np.concatenate([_row(name, values, cell) for name, values in rows.items()])


def _row(name: str, values: NDArray[Any], cell: int) -> Frame:
    label = canvas(cell, 76)
    words = text(name)
    label[4 : 4 + len(words), : words.shape[1]] = words
    strength = np.clip(np.nan_to_num(values), -1, 1)[:, None]
    full = np.where(strength > 0, np.array(BLUE), np.array(RED))
    colours = np.round(WHITE + np.abs(strength) * (full - WHITE)).astype(np.uint8)
    colours[np.isnan(values)] = GREY
    squares = enlarge(colours[None], cell)
    squares[:2], squares[:, ::cell] = WHITE, GREY
    return np.concatenate([label, squares], axis=1)
