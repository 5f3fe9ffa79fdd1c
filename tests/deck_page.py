"""A deck in the browser, slide by slide: its notes, what runs off it, how large its figures are."""

from pathlib import Path

SCRIPT = Path(__file__).with_name("deck.js")


def open_deck(page, path) -> int:
    """Open the deck's file; returns the number of its slides."""
    page.goto(path.resolve().as_uri())
    page.wait_for_function("() => typeof Reveal !== 'undefined' && Reveal.isReady()")
    page.add_script_tag(path=str(SCRIPT))
    return page.evaluate("() => Reveal.getTotalSlides()")


def slides(page, path):
    """Yield each slide of a deck as deck.js describes it, with its number; all its fragments are shown."""
    for number in range(open_deck(page, path)):
        page.evaluate(f"() => {{ Reveal.slide({number}); Reveal.navigateFragment(1000); }}")
        page.evaluate("() => Promise.all([...document.images].map((image) => image.decode().catch(() => 0)))")
        yield dict(number=number + 1, **page.evaluate("() => describe()"))
