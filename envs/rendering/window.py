"""A window on the screen, for ``render_mode="human"``."""

from __future__ import annotations

from typing import Any

from gymnasium.error import DependencyNotInstalled

from nodepert.envs.rendering.drawing import Frame

__all__ = ["Window"]


class Window:
    """Shows one frame after the other, at the pace of ``fps``; opens with the first.

    Args:
        title: Of the window.
        fps: Frames a second.
    """

    def __init__(self, title: str, fps: float) -> None:
        self._title, self._fps = title, fps
        self._screen: Any = None

    def show(self, frame: Frame) -> None:
        """Shows a frame.

        Raises:
            gymnasium.error.DependencyNotInstalled: There is no pygame.
        """
        try:
            import pygame
        except ImportError as error:
            raise DependencyNotInstalled(
                "render_mode='human' needs pygame; run "
                '`pip install "gymnasium[classic_control]"`, or use render_mode="rgb_array"'
            ) from error
        if self._screen is None:
            pygame.display.init()
            pygame.display.set_caption(self._title)
            self._screen = pygame.display.set_mode((frame.shape[1], frame.shape[0]))
            self._clock = pygame.time.Clock()
        self._screen.blit(pygame.surfarray.make_surface(frame.swapaxes(0, 1)), (0, 0))
        pygame.event.pump()
        self._clock.tick(self._fps)
        pygame.display.flip()

    def close(self) -> None:
        """Closes the window, if one is open."""
        if self._screen is not None:
            import pygame

            pygame.display.quit()
            self._screen = None
