"""The exercise of notebook 00: bring pixels to the range of the course."""

import torch

from helpers.exercises.exercise import Exercise, Mistake


def to_range(pixels, top):
    return 2 * pixels / top - 1


def to_range_cases():
    g = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (2, 3, 5), generator=g).float()
    grey[0, 0, :2] = torch.tensor([0.0, 255.0])
    return [
        (torch.tensor([0.0, 4.0, 8.0, 12.0, 16.0]), 16),
        (torch.randint(0, 13, (3, 1, 4, 5), generator=g).float(), 16),  # 13 to 16 do not occur
        (grey, 255),
    ]


def ends(text):
    """A message that quotes the range that came out."""

    def message(got, want):
        expected = f"{want.min():.2f} to {want.max():.2f}"
        return f"The values run from {got.min():.2f} to {got.max():.2f} where {expected} was expected: {text}"

    return message


EXERCISES = [
    Exercise(
        "0.1",
        "to_range",
        to_range,
        to_range_cases,
        "0 becomes -1, top becomes +1, and everything between lies on the line; for top = 16 and top = 255.",
        mistakes=[
            Mistake(
                "stops at [0, 1]",
                ends("after the division the values fill [0, 1]; stretch them to twice that and move them "
                     "down."),
                lambda pixels, top: pixels / top,
            ),
            Mistake(
                "moved but not stretched",
                ends("the range is only 1 wide; [-1, 1] is 2 wide."),
                lambda pixels, top: pixels / top - 0.5,
            ),
            Mistake(
                "moved too far down",
                ends("the values fill [-1, 0]: multiply by 2 before you subtract."),
                lambda pixels, top: pixels / top - 1,
            ),
            Mistake(
                "255 built in",
                ends("that is what division by 255 gives. The largest possible value comes in as `top`."),
                lambda pixels, top: 2 * pixels / 255 - 1,
            ),
            Mistake(
                "stretched to what occurs",
                ends("it uses the smallest and largest value of this batch, so that the same grey gets "
                     "another value in "
                     "another batch. Use 0 and `top`."),
                lambda pixels, top: 2 * (pixels - pixels.min()) / (pixels.max() - pixels.min()) - 1,
            ),
            Mistake(
                "standardised",
                ends("mean 0 and variance 1 is another scale, and it depends on the batch. Use 0 and `top`."),
                lambda pixels, top: (pixels - pixels.mean()) / pixels.std(),
            ),
            Mistake(
                "upside down",
                ends("black and white are exchanged: 0 must become -1."),
                lambda pixels, top: 1 - 2 * pixels / top,
            ),
        ],
    )
]  # fmt: skip
