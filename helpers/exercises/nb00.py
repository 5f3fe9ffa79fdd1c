"""The exercises of notebook 00: bring pixels to the range of the course, and add Gaussian noise."""

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


def add_noise(x, sigma, generator):
    return x + sigma * torch.randn(x.shape, generator=generator)


def add_noise_cases():
    points, images = torch.full((4000, 2), 0.3), -torch.ones(3000, 1, 2, 3)
    return [(points, 0.5, torch.Generator().manual_seed(0)), (images, 2.0, torch.Generator().manual_seed(1))]


def noise_by(draw):
    """A variant of add_noise: draw(shape, sigma, generator) gives what is added to x."""
    return lambda x, sigma, generator: x + draw(x.shape, sigma, generator)


def spread(text):
    """A message that quotes mean and standard deviation of what came out."""

    def message(got, want):
        return (
            f"The result has mean {got.mean():.2f} and standard deviation {got.std():.2f} where "
            f"{want.mean():.2f} and {want.std():.2f} were expected: {text}"
        )

    return message


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
    ),
    Exercise(
        "0.2",
        "add_noise",
        add_noise,
        add_noise_cases,
        "mean, standard deviation and shape of the bell, for points and for pictures, for two sigmas.",
        statistical=5,
        mistakes=[
            Mistake(
                "rand for randn",
                spread("`rand` draws evenly from [0, 1], mean 0.5. `randn` draws from the bell around 0."),
                noise_by(lambda shape, sigma, g: sigma * torch.rand(shape, generator=g)),
            ),
            Mistake(
                "uniform noise, centred",
                spread("shifting `rand` puts its mean right, but even noise is no bell. Use `randn`."),
                noise_by(lambda shape, sigma, g: sigma * (torch.rand(shape, generator=g) - 0.5)),
            ),
            Mistake(
                "uniform noise from -1 to 1",
                spread("stretched and shifted `rand` is still even noise, no bell. Use `randn`."),
                noise_by(lambda shape, sigma, g: sigma * (2 * torch.rand(shape, generator=g) - 1)),
            ),
            Mistake(
                "variance for standard deviation",
                spread("`sigma` is the standard deviation already: do not square it."),
                noise_by(lambda shape, sigma, g: sigma**2 * torch.randn(shape, generator=g)),
            ),
            Mistake(
                "root of sigma",
                spread("a root belongs to a variance; `sigma` is the standard deviation already."),
                noise_by(lambda shape, sigma, g: sigma**0.5 * torch.randn(shape, generator=g)),
            ),
            Mistake(
                "noise not scaled",
                spread("the noise has standard deviation 1; multiply it by `sigma`."),
                noise_by(lambda shape, sigma, g: torch.randn(shape, generator=g)),
            ),
            Mistake(
                "one noise for all",
                "Every example of the batch gets the same noise. Draw noise of the shape of `x`.",
                noise_by(lambda shape, sigma, g: sigma * torch.randn(shape[1:], generator=g)),
            ),
            Mistake(
                "noise without x",
                spread("this is the noise alone; add it to `x`."),
                lambda x, sigma, generator: sigma * torch.randn(x.shape, generator=generator),
            ),
        ],
    ),
]  # fmt: skip
