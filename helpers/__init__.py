"""What the notebooks share. Each file holds one idea that a notebook first builds in the open."""

EDITION = "2"  # which notebooks these belong to; pyproject.toml says the same
