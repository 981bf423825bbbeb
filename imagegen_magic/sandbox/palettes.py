"""The colours of the sandbox's drawings: light for landscapes, inks on paper for patterns."""

from __future__ import annotations

from dataclasses import dataclass

from imagegen_magic.sandbox.canvas import Colour, brightness, colour


@dataclass(frozen=True, slots=True)
class Light:
    """A time of day: the sky from zenith to horizon, sun or moon, the farthest and the nearest land, and lit windows."""

    name: str
    sky: tuple[Colour, ...]
    sun: Colour
    far: Colour
    near: Colour
    lamp: Colour
    night: bool = False


@dataclass(frozen=True, slots=True)
class Inks:
    """Paper, its darkest ink, and the others in an order in which neighbours get on."""

    name: str
    paper: Colour
    dark: Colour
    inks: tuple[Colour, ...]

    @property
    def line(self) -> Colour:
        """What a thin line wants on this paper."""
        return self.dark if brightness(self.paper) > 0.4 else self.inks[-1]


def _light(name: str, sky: str, sun: str, far: str, near: str, lamp: str = "#ffd27a", night: bool = False) -> Light:
    return Light(name, tuple(map(colour, sky.split())), colour(sun), colour(far), colour(near), colour(lamp), night)


def _inks(name: str, paper: str, dark: str, inks: str) -> Inks:
    return Inks(name, colour(paper), colour(dark), tuple(map(colour, inks.split())))


LIGHTS = (
    _light("dawn", "#34406e #7d6b94 #d99aa0 #f6c9a0 #fde7c0", "#fff3d6", "#c9959a", "#22203f"),
    _light("morning", "#7fb6c4 #acd3d0 #dbe6d4 #f7ecd2", "#fffaea", "#a9c9bd", "#17403f"),
    _light("dusk", "#2b1745 #6b2358 #b93a57 #ea6f4d #f9bb67", "#ffe39a", "#b8486a", "#1b0d2c"),
    _light("autumn", "#f4e6c6 #f3d5a2 #eeb676", "#d5502c", "#d69a6b", "#3c1c1c"),
    _light("mist", "#c9d6d8 #dde3de #f0ece0", "#f1a765", "#b3c3c0", "#1d3a42"),
    _light("fuji", "#dce6ea #eef0ea #f8efe0", "#e4573f", "#9fb6c6", "#14283f"),
    _light("desert", "#e98a6b #f2ad7f #f8cf9f #fce6c4", "#fff4da", "#dd8a6c", "#5a1f33"),
    _light("lagoon", "#0e4a66 #2a7f8e #7ab8ab #e3dcb4 #f9e2b0", "#fff1c4", "#5b9a98", "#0a2b3b"),
    _light("night", "#060b22 #0d1c42 #1d3a68 #41648f", "#f5efda", "#2b4a76", "#040714", night=True),
    _light("indigo", "#120a2e #2a1654 #4a2b78 #85569a", "#ffe9c9", "#472f76", "#0b0620", night=True),
    _light("polar", "#04141f #08303d #125354 #3f8277", "#eaf7ec", "#174c52", "#020b12", night=True),
)

INKS = (
    _inks("bauhaus", "#f1e7d3", "#1f1d1c", "#d7402b #1f4f8f #efb32b #8fb2ab #e9d9b8"),
    _inks("midcentury", "#f0e6d4", "#37353f", "#e0705a #2a6f6b #e8b34b #bccbb2 #8a4f4d"),
    _inks("harbour", "#eef0e8", "#0c2f4a", "#0a7f8c #f4d490 #ff6259 #bcd6e4 #13496b"),
    _inks("plum", "#f6ebe3", "#2f2640", "#5f2b58 #c5476b #f7a58a #f4d184 #8c6f9c"),
    _inks("woods", "#efeee0", "#22332f", "#1c7672 #c34a36 #e3b594 #7a9b6d #f0d9a8"),
    _inks("midnight", "#161a31", "#0c0f20", "#f0605d #fcdb6b #2a7fae #74c2b2 #f4efe0"),
    _inks("clay", "#f4e9dd", "#3b2a2a", "#b5533c #e3a06f #6f7f6a #d9c3a5 #8b3d3a"),
    _inks("sorbet", "#fbf1e6", "#3a3350", "#f28f7c #f9c87c #84c0b4 #7b83bd #f3b7b0"),
)
