"""The student edition as its user sees it, in JupyterLab: a wrong answer is named, the rest runs on."""

from pathlib import Path

import browser
import lab_page
from builder.course import Course, notebook_text, read_notebook

COURSE = Course(Path(__file__).resolve().parents[1])
NUMBER, EXERCISE = "01", "1.5"
WRONG = """\
    a = at(schedule.alpha_bar, t, x0)
    return a.sqrt() * x0 + (1 - a) * noise"""


@browser.needs_browser
def test_a_wrong_answer_is_named_and_run_all_reaches_the_summary(tmp_path):
    folder = COURSE.root / "out" / "browser" / "student"  # inside the course, as my-work/ is
    folder.mkdir(parents=True, exist_ok=True)
    notebook = read_notebook(next(COURSE.student.glob(f"{NUMBER}_*.ipynb")))
    exercises = {c.metadata["exercise"]: c for c in notebook.cells if "exercise" in c.metadata}
    cell = exercises[EXERCISE]
    cell.source = cell.source.replace("    ...", WRONG)
    (folder / f"{NUMBER}.ipynb").write_text(notebook_text(notebook), encoding="utf-8")
    mine = {"NOISE_TO_DIGITS_MINE": str(tmp_path / "mine")}
    environment = mine | {"NOISE_TO_DIGITS_MODE": "smoke", "NOISE_TO_DIGITS_OUT": str(tmp_path / "out")}
    with (
        lab_page.server(folder, tmp_path / "log", **environment) as address,
        browser.page(tmp_path / "profile", 1400, 1000) as page,
    ):
        lab_page.run_all(page, address, f"{NUMBER}.ipynb", 240)
        verdict = page.get_by_text("not yet").first
        assert "square root" in verdict.inner_text()
        verdict.scroll_into_view_if_needed()
        page.screenshot(path=folder / "wrong_answer.png")
        summary = page.locator(".jp-OutputArea table").last.inner_text()
        assert "variance for standard deviation" in summary
        assert summary.count("not attempted") == len(exercises) - 1
        picture = page.locator("details", has_text="Expected picture").first
        picture.locator("summary").click()
        image = picture.locator("img")
        assert image.is_visible() and image.evaluate("(image) => image.naturalWidth") > 100
        assert not page.errors, page.errors
