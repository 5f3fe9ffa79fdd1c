"""What the notebooks share. Each file holds one idea that a notebook first builds in the open."""
