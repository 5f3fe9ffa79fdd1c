"""Settings of the site for Sphinx. builder/site.py copies this file beside the pages and writes site.json."""

import json
from pathlib import Path

about = json.loads((Path(__file__).parent / "site.json").read_text(encoding="utf-8"))

project = html_title = "Noise to Digits"
author = "The Noise to Digits authors"
html_show_sphinx = html_show_copyright = False
extensions = ["myst_nb"]
exclude_patterns = ["extra", "_static", "_templates", "*.html"]
templates_path = ["_templates"]
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_number_source_lines = False
myst_enable_extensions = ["attrs_block", "dollarmath"]
myst_dmath_double_inline = True
myst_dmath_allow_labels = False
myst_heading_anchors = 3
myst_update_mathjax = False

# Formulas: MathJax 3 from _static, or the same file from the web: a browser refuses it where it is another.
if about["offline"]:
    mathjax_path = about["mathjax"]
else:
    mathjax_path = "https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-svg.js"
    mathjax_options = {
        "crossorigin": "anonymous",
        "integrity": "sha384-KKWa9jJ1MZvssLeOoXG6FiOAZfAgmzsIIfw8BXwI9+kYm0lPCbC6yTQPBC00F1/L",
    }
mathjax3_config = {
    "tex": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]]},
    "options": {"enableMenu": False, "ignoreHtmlClass": ".*", "processHtmlClass": "math"},
    "svg": {"fontCache": "global", "scale": 0.93},
}

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_extra_path = ["extra"]
html_css_files = ["site.css", *(["fonts.css"] if about["offline"] else [])]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = "_static/favicon.svg"
html_copy_source = html_use_index = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "toc_title": "On this page",
    "use_download_button": False,
    "use_fullscreen_button": False,
    "back_to_top_button": False,
    "search_bar_text": "Search the course",
    "logo": {"text": "Noise to Digits"},
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_content_items": [],
    "navbar_persistent": [],
    "article_footer_items": [],
}


def add_scripts(app, page, template, context, doctree):
    """Give a page the scripts and the styles of the demos that it mounts, and no others."""
    scripts = about["scripts"].get(page, [])
    for script in scripts:
        app.add_js_file(f"live/{script}", loading_method="defer")
    for style in about["styles"] if scripts else []:
        app.add_css_file(f"live/{style}")


def setup(app):
    app.connect("html-page-context", add_scripts)
